"""The target `output` where features cannot be forecast, and where only its calls tell what was left out."""

import copy
import dataclasses
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    EulerAncestralDiscreteScheduler,
    GGUFQuantizationConfig,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from diffusers.hooks.group_offloading import ModuleGroup
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn

from spectrum import SpectrumConfig, SpectrumError, StepPlan, Trajectory, attach
from spectrum.interception import is_compiled, is_intercepted
from tests.spectrum.listen import listening
from tests.spectrum.probe import CONFIG, FEW, check_forecasts, denoiser_of, denoisers_of, refuses, traces_of
from tests.spectrum.test_controlnet import PIPELINES
from tests.spectrum.test_controlnet import run as run_controlled
from tests.spectrum.test_output import check_outputs
from tests.spectrum.test_two_denoisers import wan22
from tests.spectrum.tiny import FAMILIES, Family, embeddings
from tests.spectrum.tiny.family import texts

STEPS, EVALUATED = 6, (0, 1, 3)  # as FEW has them


def run(family: Family, pipe: Any, **options: Any) -> torch.Tensor:
    return family.run(pipe, num_inference_steps=STEPS, **options)


def changed(family: Family, change: Any) -> Family:
    """The family with something done to its denoiser before it enters the pipeline."""
    return dataclasses.replace(family, denoiser=lambda: change(family.denoiser()))


# Compiled as a whole


def compiled_in_place(denoiser: nn.Module) -> nn.Module:
    denoiser.compile(backend="eager")
    return denoiser


WAYS = {
    "in place": compiled_in_place,
    "wrapped, one graph": lambda denoiser: torch.compile(denoiser, backend="aot_eager", fullgraph=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_denoiser_compiled_as_a_whole(flux, way):
    torch._dynamo.reset()
    pipe = flux.make()
    with attach(pipe, FEW, target="output"):
        expected = run(flux, pipe)
    pipe.transformer = way(pipe.transformer)
    plain, before = run(flux, pipe), dict(vars(pipe.transformer))
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS), target="output"):
        assert torch.equal(run(flux, pipe), plain)
    with attach(pipe, FEW, target="output"), listening(pipe.transformer) as calls:
        with torch.compiler.set_stance("fail_on_recompile"):
            made = run(flux, pipe)
        assert [call.ran for call in calls[::2]] == [step in EVALUATED for step in range(STEPS)]
        assert not any(call.operations for call in calls if not call.ran)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
    assert dict(vars(pipe.transformer)) == before
    assert torch.equal(run(flux, pipe), plain)


def test_compiling_while_attached_is_refused_and_survives_detach(flux):
    pipe = flux.make()
    with attach(pipe, FEW, target="output"):
        pipe.transformer.compile(backend="eager")
        with pytest.raises(SpectrumError, match=r"compiled after attach: detach and attach again"):
            run(flux, pipe)
    assert is_compiled(pipe.transformer) and not is_intercepted(pipe.transformer)


# Replayed from a CUDA graph


class Replayed(nn.Module):
    """Keeps the contract of a captured CUDA graph, which cannot be had without a GPU.

    A graph reads its inputs at the addresses it was captured with, writes over the same output in every replay, and
    takes no other shapes.
    """

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.inner, self.config = denoiser, denoiser.config
        self.device, self.dtype = denoiser.device, denoiser.dtype
        self.inputs: dict[str, torch.Tensor] | None = None
        self.replays = 0

    def forward(self, return_dict: bool, **given: Any) -> tuple[torch.Tensor]:
        tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
        if self.inputs is None:
            self.inputs = {name: value.clone() for name, value in tensors.items()}
            self.output = self.inner(**{**given, **self.inputs}, return_dict=False)[0].clone()
        assert self.inputs.keys() == tensors.keys()
        for name, value in tensors.items():
            assert self.inputs[name].shape == value.shape
            self.inputs[name].copy_(value)
        self.output.copy_(self.inner(**{**given, **self.inputs}, return_dict=False)[0])
        self.replays += 1
        return (self.output,)


def test_a_replayed_graph_may_write_over_its_last_output():
    family = FAMILIES["sd3"]  # both branches of guidance in one call, which is one graph
    pipe, replayed = family.make(), changed(family, Replayed).make()
    with attach(pipe, FEW, target="output"):
        expected = run(family, pipe, batch=2)
    with attach(replayed, FEW, target="output"):
        made = run(family, replayed, batch=2)
    assert torch.equal(made, expected)
    assert replayed.transformer.replays == len(EVALUATED)


# Of any class


class Int8Linear(nn.Module):
    """A linear layer of 8-bit weights with a scale a row, as quantisers leave behind."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127
        self.register_buffer("weight", (linear.weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias, self.in_features = linear.bias, linear.in_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight * self.scale, self.bias)


def quantised(denoiser: nn.Module) -> nn.Module:
    for module in list(denoiser.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
    return denoiser


def from_gguf(denoiser: Any) -> nn.Module:
    """The denoiser, read from a GGUF file that has what fits blocks of 32 in 8 bits."""
    with tempfile.TemporaryDirectory() as folder:
        denoiser.save_config(folder)
        path = Path(folder, "denoiser.gguf")
        file = gguf.GGUFWriter(path, "any")
        for name, weight in denoiser.state_dict().items():
            if weight.ndim == 2 and weight.shape[1] % 32 == 0:
                kind = gguf.GGMLQuantizationType.Q8_0
                file.add_tensor(name, gguf.quants.quantize(weight.numpy(), kind), raw_dtype=kind)
            else:
                file.add_tensor(name, weight.numpy())
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.write_tensors_to_file()
        file.close()
        read: nn.Module = type(denoiser).from_single_file(
            str(path),
            config=folder,
            quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32),
            torch_dtype=torch.float32,
        )
    kinds = {type(module).__name__ for module in read.modules()}
    assert "GGUFLinear" in kinds
    return read


class Unheard(nn.Module):
    """A denoiser of a class that no table has."""

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        self.inner, self.config = denoiser, denoiser.config
        self.device, self.dtype = denoiser.device, denoiser.dtype

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


@pytest.mark.parametrize(("name", "change"), [("sd3", quantised), ("flux", from_gguf), ("sd3", Unheard)])
def test_a_quantised_denoiser_and_one_of_an_unknown_class(name, change):
    check_outputs(changed(FAMILIES[name], change), FEW, steps=STEPS, batch=2, guidance=True)


def test_an_unknown_class_is_told_of_the_output():
    refuses(changed(FAMILIES["sd3"], Unheard).make(), r"does not know the denoiser Unheard.* or forecast its output")


class Processor:
    """What the pipeline asks of one when it is made."""

    tokenizer = SimpleNamespace(encode=lambda text: [0])

    def apply_chat_template(self, *_: object, **__: object) -> list[list[int]]:
        return [[0]]


def qwen21() -> Family:
    def denoiser() -> QwenImage21Transformer2DModel:
        return QwenImage21Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            context_in_dim=32,
            axes_dims_rope=(4, 6, 6),
        )

    return Family(
        "qwen21",
        QwenImage21Pipeline,
        denoiser,
        texts(32, scale="true_cfg_scale", mask="prompt_embeds_mask", dtype=torch.bool),
        apart=True,
        components={"processor": Processor},
        pixels=2,
    )


@pytest.mark.parametrize("config", [FEW, SpectrumConfig(warmup_steps=1, window_size=2)], ids=["few", "first"])
def test_keys_that_are_kept_after_the_first_step(config):
    """The first call returns the prompt's part of the sequence too, which the pipeline cuts off."""
    family = qwen21()
    pipe = family.make()
    plain = run(family, pipe)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS), target="output"):
        assert torch.equal(run(family, pipe), plain)
    cached = attach(pipe, config, target="output")
    with listening(pipe.transformer) as calls:
        made = run(family, pipe)
    assert cached.statistics.forecast_calls == 2 * len(cached.plan_for(STEPS).forecast)
    cached.detach()
    assert calls[0].tensors[0].shape[1] > calls[-1].tensors[0].shape[1] == 16
    with attach(pipe, config, target="output"):
        whole = run(family, pipe, use_kv_cache=False)
    torch.testing.assert_close(made, whole, rtol=1e-4, atol=1e-4)


def test_a_sequence_is_not_cut_where_the_input_changed_too():
    trajectory = Trajectory(StepPlan.build(STEPS, FEW))
    trajectory.begin_call((1, 8, 4))
    trajectory.record(torch.zeros(1, 8, 4))
    trajectory.advance()
    trajectory.begin_call((1, 6, 4))
    trajectory.cut_to(6)
    with pytest.raises(SpectrumError, match=r"a feature of shape \(1, 6, 4\) does not fit rows of \(1, 8, 4\)"):
        trajectory.record(torch.zeros(1, 6, 4))


def looped(pipe: Any, **options: Any) -> list[Any]:
    """The outputs of a loop that no pipeline makes."""
    given = {
        "encoder_hidden_states": embeddings(2, 6, 32),
        "pooled_projections": embeddings(2, 32),
        "txt_ids": torch.zeros(6, 3),
        "img_ids": torch.zeros(16, 3),
    }
    latents, outputs = embeddings(2, 16, 4), []
    pipe.scheduler.set_timesteps(STEPS)
    with torch.no_grad():
        for timestep in pipe.scheduler.timesteps:
            outputs.append(pipe.transformer(latents, timestep=timestep.expand(2), **given, **options))
            latents = pipe.scheduler.step(outputs[-1][0], timestep, latents, return_dict=False)[0]
    return outputs


@pytest.mark.parametrize(("options", "kind"), [({}, Transformer2DModelOutput), ({"return_dict": False}, tuple)])
def test_a_forecast_has_the_class_of_what_was_returned(flux, options, kind):
    pipe = flux.make()
    with attach(pipe, FEW, target="output"):
        outputs = looped(pipe, **options)
    assert {type(output) for output in outputs} == {kind}
    assert all(output[0].shape == (2, 16, 4) for output in outputs)


def test_an_output_without_tensors_is_refused(flux):
    pipe = flux.make()
    pipe.transformer.register_forward_hook(lambda *_: "noise")
    said = r"FluxTransformer2DModel returned a str without a tensor"
    with attach(pipe, FEW, target="output"), pytest.raises(SpectrumError, match=said):
        looped(pipe)


# Two denoisers, ControlNets, offloading


def ideogram() -> Family:
    def denoiser() -> Ideogram4Transformer2DModel:
        return Ideogram4Transformer2DModel(
            in_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            intermediate_size=32,
            adaln_dim=16,
            llm_features_dim=32,
            mrope_section=(4, 2, 2),
        )

    def encode(prompt: list[str], grid_h: int, grid_w: int, max_sequence_length: int, device: Any) -> Any:
        """A text's length tells it from others."""
        lengths = [len(text) for text in prompt]
        features = torch.cat([embeddings(1, max_sequence_length + grid_h * grid_w, 32, seed=n) for n in lengths])
        return features, *Ideogram4Pipeline._prepare_ids(lengths, grid_h, grid_w, max_sequence_length, device)

    return Family(
        "ideogram",
        Ideogram4Pipeline,
        denoiser,
        lambda batch, guidance: {"prompt": ["a", "ab", "abc"][:batch], "guidance_scale": 4.0},
        components={"unconditional_transformer": lambda: denoiser().eval()},
        replaced={"encode_prompt": encode},
        call={"max_sequence_length": 4, "guidance_schedule": None},
        pixels=2,
    )


def test_two_denoisers_that_take_each_step_together():
    family = ideogram()
    pipe = family.make()
    plain = run(family, pipe, batch=2)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS), target="output"):
        assert torch.equal(run(family, pipe, batch=2), plain)
    handle = attach(pipe, FEW, target="output")
    with listening(pipe.transformer) as first, listening(pipe.unconditional_transformer) as second:
        assert 0 < (run(family, pipe, batch=2) - plain).norm() / plain.norm() < 0.15
    for calls in (first, second):
        assert [call.ran for call in calls] == [step in EVALUATED for step in range(STEPS)]
        check_forecasts([call.tensors[0] for call in calls], handle.plan_for(STEPS))
    statistics = handle.statistics
    assert (statistics.num_steps, statistics.steps, statistics.evaluated_steps) == (STEPS, STEPS, len(EVALUATED))
    assert (statistics.branches, statistics.evaluated_calls, statistics.forecast_calls) == (2, 6, 6)
    handle.detach()
    assert torch.equal(run(family, pipe, batch=2), plain)


def test_two_denoisers_that_share_a_trajectory():
    family = wan22()
    pipe = family.make()
    plain, before = family.run(pipe), traces_of(pipe)
    with attach(pipe, CONFIG, target="output") as handle:
        first, second = denoisers_of(pipe)
        with listening(first) as early, listening(second) as late:
            forecast = family.run(pipe)
        for calls, statistics in zip((early, late), handle.statistics_by_denoiser.values(), strict=True):
            evaluated = handle.plan_for(statistics.num_steps).evaluated
            assert [call.ran for call in calls[::2]] == [step in evaluated for step in range(statistics.num_steps)]
            assert not any(call.operations for call in calls if not call.ran)
            assert statistics.forecast_calls > 2
    assert 0 < (forecast - plain).norm() / plain.norm() < 0.15
    assert traces_of(pipe) == before


@pytest.mark.parametrize("name", PIPELINES)
def test_controlnets_are_not_called_on_forecast_steps(name):
    family, pipe = FAMILIES[name.split("_")[0]], PIPELINES[name]()
    plain, before = run_controlled(family, pipe), list(vars(pipe.controlnet))
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS), target="output"):
        assert torch.equal(run_controlled(family, pipe), plain)
    with attach(pipe, FEW, target="output"), listening(pipe.controlnet) as calls:
        forecast = run_controlled(family, pipe)
        uncontrolled = run_controlled(family, pipe, controlnet_conditioning_scale=0.0)
    assert 0 < (forecast - plain).norm() < 0.5 * (uncontrolled - plain).norm()
    assert [call.ran for call in calls] == 2 * [step in EVALUATED for step in range(STEPS)]
    spared = [call for call in calls if not call.ran]
    assert not any(call.operations for call in spared)
    kinds = [[(tensor.shape, tensor.dtype) for tensor in call.tensors] for call in (calls[0], *spared)]
    assert all(kind == kinds[0] for kind in kinds)
    assert list(vars(pipe.controlnet)) == before


def test_a_controlnet_of_two_pipelines_is_spared_in_one_and_left_as_it_was():
    family, pipe = FAMILIES["sdxl"], PIPELINES["sdxl"]()
    other = PIPELINES["sdxl"]()
    other.controlnet = pipe.controlnet
    before = list(vars(pipe.controlnet))
    first, second = (attach(one, FEW, target="output") for one in (pipe, other))
    with listening(pipe.controlnet) as calls:
        run_controlled(family, other)
        run_controlled(family, pipe)
    assert [call.ran for call in calls] == [True] * STEPS + [step in EVALUATED for step in range(STEPS)]
    first.detach()
    second.detach()
    assert list(vars(pipe.controlnet)) == before


def model_offloading(pipe: Any) -> None:
    pipe.enable_model_cpu_offload(device="cpu")


def sequential_offloading(pipe: Any) -> None:
    cpu_offload(denoiser_of(pipe), "cpu")


def group_offloading(pipe: Any) -> None:
    options = {"offload_type": "block_level", "num_blocks_per_group": 1}
    denoiser_of(pipe).enable_group_offload(onload_device=torch.device("cpu"), **options)


@pytest.mark.parametrize("offload", [model_offloading, sequential_offloading, group_offloading])
def test_offloading_fetches_nothing_on_forecast_steps(flux, offload, monkeypatch):
    pipe = flux.make()
    with attach(pipe, FEW, target="output"):
        expected = run(flux, pipe)
    offload(pipe)
    plain, fetched = run(flux, pipe), []
    onload = ModuleGroup.onload_
    monkeypatch.setattr(ModuleGroup, "onload_", lambda group: (fetched.append(len(calls)), onload(group)))
    for _ in range(2):
        with attach(pipe, FEW, target="output"), listening(pipe.transformer) as calls:
            assert torch.equal(run(flux, pipe), expected)
        assert [call.ran for call in calls[::2]] == [step in EVALUATED for step in range(STEPS)]
        assert not any(call.operations for call in calls if not call.ran)
        assert all(calls[number - 1].ran for number in fetched)
        assert torch.equal(run(flux, pipe), plain)
        fetched.clear()


# Attach


def test_a_copy_of_the_pipeline_is_plain(flux):
    pipe = flux.make()
    plain = run(flux, pipe)
    with attach(pipe, FEW, target="output"):
        twin = copy.deepcopy(pipe)
        assert not is_intercepted(twin.transformer)
        assert "_compiled_call_impl" not in vars(twin.transformer)
        twin.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        assert torch.equal(run(flux, twin), plain)


@pytest.mark.parametrize("targets", [("output", "features"), ("features", "output"), ("output", "output")])
def test_attaching_twice_is_refused(flux, targets):
    pipe = flux.make()
    with attach(pipe, CONFIG, target=targets[0]):
        refuses(pipe, "already attached to this denoiser", target=targets[1])


def test_what_cannot_be_forecast_is_refused(sdxl):
    pipe = sdxl.make()
    refuses(pipe, "^target must be one of features, output, not 'noise'", target="noise")
    pipe.scheduler = EulerAncestralDiscreteScheduler()
    refuses(pipe, "adds fresh noise at every step", target="output")
    pipe.unet = lambda *_: None
    with pytest.raises(SpectrumError, match="unet is no PyTorch module, and"):
        attach(pipe, CONFIG, target="output")
