"""LoRA adapters, loaded before or after attach: forecast steps run the head with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict
from torch import nn

from spectrum import SpectrumConfig, attach
from spectrum.denoisers import spec_of
from spectrum.stacks import heads_of
from tests.spectrum.probe import denoiser_of
from tests.spectrum.tiny import FAMILIES, Family

CONFIG, STEPS = SpectrumConfig(warmup_steps=2), 5  # evaluates 0 1 3, forecasts 2 4
TARGETS = {
    "flux": r".*\.to_q|norm_out\.linear|proj_out",
    "sd3": r".*\.to_q|norm_out\.linear|proj_out",
    "sdxl": r".*\.to_q|conv_out",
    "wan": r".*\.to_q|proj_out",
    "hunyuan": r".*\.to_q|norm_out\.linear|proj_out",
}
HEAD_ONLY = r"norm_out\.linear|proj_out"


@pytest.fixture(params=TARGETS)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def run(family: Family, pipe: Any) -> torch.Tensor:
    return family.run(pipe, num_inference_steps=STEPS)


def write_lora(family: Family, folder: Path, targets: str | None = None, seed: int = 0) -> Path:
    """A LoRA with random numbers, in a file as users download it."""
    pipe = family.make()
    torch.manual_seed(seed)
    adapter = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets or TARGETS[family.name])
    denoiser_of(pipe).add_adapter(adapter)
    layers = {"unet" if hasattr(pipe, "unet") else "transformer": get_peft_model_state_dict(denoiser_of(pipe))}
    # Strong enough to be told from rounding: peft's random numbers are small.
    layers = {name: {key: 10 * value for key, value in state.items()} for name, state in layers.items()}
    pipe.save_lora_weights(folder, **{f"{name}_lora_layers": state for name, state in layers.items()})
    return folder


def load(pipe: Any, folder: Path, name: str = "first") -> None:
    pipe.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors", adapter_name=name)


@pytest.mark.parametrize("attach_first", [False, True])
def test_with_every_step_evaluated_it_equals_the_plain_pipeline(family, attach_first, tmp_path):
    lora = write_lora(family, tmp_path)
    plain = family.make()
    without = run(family, plain)
    load(plain, lora)
    expected = run(family, plain)
    assert not torch.allclose(expected, without)

    pipe = family.make()
    if not attach_first:
        load(pipe, lora)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        if attach_first:
            assert torch.equal(run(family, pipe), without)
            load(pipe, lora)
        assert torch.equal(run(family, pipe), expected)
    assert torch.equal(run(family, pipe), expected)


def test_whatever_is_done_to_adapters_while_attached_is_as_if_done_before(family, tmp_path):
    first, second = write_lora(family, tmp_path / "1"), write_lora(family, tmp_path / "2", seed=1)
    operations: list[Callable[[Any], Any]] = [
        lambda pipe: load(pipe, first, "first"),
        lambda pipe: load(pipe, second, "second"),
        lambda pipe: pipe.set_adapters(["first", "second"], [0.7, 0.3]),
        lambda pipe: pipe.set_adapters("second", 0.5),
        lambda pipe: pipe.disable_lora(),
        lambda pipe: pipe.enable_lora(),
        lambda pipe: pipe.fuse_lora(adapter_names=["second"]),
        lambda pipe: pipe.unfuse_lora(),
        lambda pipe: pipe.unload_lora_weights(),
    ]
    attached, other, outputs = family.make(), family.make(), []
    with attach(attached, CONFIG) as handle:
        without = run(family, attached)
        for number, operation in enumerate(operations):
            operation(attached)
            outputs.append(run(family, attached))
            assert handle.statistics.forecast_calls > 0
            operation(other)
            with attach(other, CONFIG):
                assert torch.equal(run(family, other), outputs[-1]), number
    changed = [not torch.allclose(output, without, rtol=1e-3, atol=1e-3) for output in outputs]
    assert changed == [True, True, True, True, False, True, True, True, False]


@pytest.mark.parametrize("fused", [False, True])
def test_forecast_steps_run_the_head_with_the_lora(flux, fused, tmp_path):
    """The output of each forecast step is recomputed from what entered the head, with weights W + B A by hand."""
    lora = write_lora(flux, tmp_path, HEAD_ONLY)
    pipe = flux.make()
    plain, by_hand = flux.make().transformer, flux.make().transformer
    load(pipe, lora)
    for name in ("norm_out.linear", "proj_out"):
        layer = pipe.transformer.get_submodule(name)
        by_hand.get_submodule(name).weight.data += layer.lora_B["first"].weight @ layer.lora_A["first"].weight
    if fused:
        pipe.fuse_lora()

    seen: list[dict[str, Any]] = []
    with attach(pipe, CONFIG), torch.no_grad():
        pipe.transformer.register_forward_pre_hook(lambda *_: seen.append({"forecast": True}))
        pipe.transformer.transformer_blocks[0].register_forward_pre_hook(lambda *_: seen[-1].update(forecast=False))
        pipe.transformer.norm_out.register_forward_pre_hook(lambda _, args: seen[-1].update(inputs=args))
        pipe.transformer.register_forward_hook(lambda _, args, output: seen[-1].update(output=output[0]))
        run(flux, pipe)
        forecasts = [call for call in seen if call["forecast"]]
        assert len(forecasts) == 2 * 2
        for call in forecasts:
            with_lora, without = (head.proj_out(head.norm_out(*call["inputs"])) for head in (by_hand, plain))
            assert (call["output"] - with_lora).norm() < 1e-5 * with_lora.norm()
            assert (call["output"] - without).norm() > 0.1 * with_lora.norm()


def test_no_head_is_a_layer_that_peft_replaces():
    """Its stand-in would hand the layer's own input, not the forecast, to the LoRA."""
    for family in FAMILIES.values():
        denoiser = family.denoiser()
        for _, head in heads_of(denoiser, spec_of(denoiser)):
            assert not isinstance(head, (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding))
