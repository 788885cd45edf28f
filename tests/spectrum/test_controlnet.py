"""ControlNet pipelines: residuals that are added between blocks, also where the blocks do not run."""

from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxMultiControlNetModel,
    SD3ControlNetModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from torch import nn

from spectrum import SpectrumConfig, SpectrumError, StepPlan, Trajectory, attach, controlnets
from tests.spectrum.tiny import FAMILIES, Family

CONFIG, STEPS = SpectrumConfig(warmup_steps=2, flex_window=1), 6
EVALUATED, FORECAST = (0, 1, 3), (2, 4, 5)


def tiny_vae(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=channels,
        norm_num_groups=4,
        shift_factor=0.0,
    ).eval()


def control(pipeline: Any, pipe: Any, controlnet: nn.Module, **components: Any) -> Any:
    """The ControlNet pipeline around a tiny pipeline's denoiser, with numbers for what training starts at zero."""
    for parameter in controlnet.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=1.0)
    controlled = pipeline(**{**pipe.components, **components, "controlnet": controlnet.eval()})
    controlled.set_progress_bar_config(disable=True)
    return controlled


def make_flux() -> Any:
    pipe = FAMILIES["flux"].make()
    sizes = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2}
    controlnet = FluxControlNetModel.from_transformer(pipe.transformer, **sizes)
    return control(FluxControlNetPipeline, pipe, controlnet, vae=tiny_vae(1))


def make_flux_double_only() -> Any:
    """As the published depth and canny ControlNets that give no residuals for single blocks."""
    pipe = FAMILIES["flux"].make()
    sizes = {"num_layers": 1, "num_single_layers": 0, "attention_head_dim": 16, "num_attention_heads": 2}
    controlnet = FluxControlNetModel.from_transformer(pipe.transformer, **sizes)
    return control(FluxControlNetPipeline, pipe, controlnet, vae=tiny_vae(1))


def make_sd3() -> Any:
    pipe = FAMILIES["sd3"].make()
    controlnet = SD3ControlNetModel.from_transformer(pipe.transformer, num_layers=2, num_extra_conditioning_channels=0)
    return control(StableDiffusion3ControlNetPipeline, pipe, controlnet, vae=tiny_vae(4))


def make_sdxl() -> Any:
    pipe = FAMILIES["sdxl"].make()
    controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_channels=3)
    return control(StableDiffusionXLControlNetPipeline, pipe, controlnet)


PIPELINES = {"flux": make_flux, "flux_double_only": make_flux_double_only, "sd3": make_sd3, "sdxl": make_sdxl}


@pytest.fixture(params=PIPELINES)
def controlled(request: pytest.FixtureRequest) -> tuple[Family, Any]:
    return FAMILIES[request.param.split("_")[0]], PIPELINES[request.param]()


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(seed))


def run(family: Family, pipe: Any, **options: Any) -> torch.Tensor:
    name = "image" if family.name == "sdxl" else "control_image"
    torch.manual_seed(0)  # SD3 encodes the control image with torch's own generator
    return family.run(pipe, **{name: picture(), "num_inference_steps": STEPS, **options})


def blocks_of(controlnet: nn.Module) -> list[nn.Module]:
    names = ("transformer_blocks", "single_transformer_blocks", "down_blocks", "mid_block")
    stacks = [getattr(controlnet, name) for name in names if hasattr(controlnet, name)]
    return [block for stack in stacks for block in (stack if isinstance(stack, nn.ModuleList) else [stack])]


def count_calls(modules: Any) -> list[int]:
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1

    for module in modules:
        module.register_forward_pre_hook(count)
    return calls


def test_with_every_step_evaluated_nothing_changes(controlled):
    family, pipe = controlled
    expected = run(family, pipe)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        assert torch.equal(run(family, pipe), expected)


def test_the_control_is_felt_through_forecasts(controlled):
    family, pipe = controlled
    plain = run(family, pipe)
    with attach(pipe, CONFIG) as handle:
        forecast = run(family, pipe)
        assert handle.statistics.forecast_calls == len(FORECAST) * family.branches(True)
        uncontrolled = run(family, pipe, controlnet_conditioning_scale=0.0)
    assert 0 < (forecast - plain).norm() < 0.5 * (uncontrolled - plain).norm()


def test_forecast_steps_need_no_residuals(controlled, monkeypatch):
    """The same bits as with a ControlNet that runs whole on every step."""
    family, pipe = controlled
    with attach(pipe, CONFIG):
        expected = run(family, pipe)
    monkeypatch.setattr(controlnets, "_STAND_INS", {})
    ran = count_calls(blocks_of(pipe.controlnet))
    with attach(pipe, CONFIG):
        assert torch.equal(run(family, pipe), expected)
    assert ran == [len(blocks_of(pipe.controlnet)) * STEPS]


def test_several_controlnets_are_spared_each():
    family, pipe = FAMILIES["flux"], make_flux()
    pipe.controlnet = FluxMultiControlNetModel([pipe.controlnet, make_flux().controlnet])
    blocks = [block for net in pipe.controlnet.nets for block in blocks_of(net)]
    ran = count_calls(blocks)
    with attach(pipe, CONFIG):
        options = {"controlnet_conditioning_scale": [0.5, 0.5], "control_mode": [0, 0]}
        run(family, pipe, control_image=[picture(0), picture(1)], **options)
    assert ran == [len(blocks) * len(EVALUATED)]


def test_a_controlnet_runs_its_blocks_on_evaluated_steps_alone(controlled):
    family, pipe = controlled
    blocks = blocks_of(pipe.controlnet)
    ran = count_calls(blocks)
    before = {name: (id(module), list(vars(module))) for name, module in pipe.controlnet.named_modules()}
    with attach(pipe, CONFIG):
        for guidance in (True, False):
            run(family, pipe, guidance=guidance, batch=2)
            assert ran.pop() == len(blocks) * len(EVALUATED)
            ran.append(0)
    assert {name: (id(module), list(vars(module))) for name, module in pipe.controlnet.named_modules()} == before
    run(family, pipe)
    assert ran == [len(blocks) * STEPS]


def test_an_error_in_a_spared_controlnet_leaves_no_trace(controlled):
    family, pipe = controlled
    blocks, plain = blocks_of(pipe.controlnet), run(family, pipe)
    calls = count_calls([pipe.controlnet])

    def fail(*_: object) -> None:
        if calls[0] == FORECAST[0] + 1:
            raise KeyboardInterrupt

    with attach(pipe, CONFIG):
        expected = run(family, pipe)
        calls[0] = 0
        hook = pipe.controlnet.register_forward_pre_hook(fail)
        with pytest.raises(KeyboardInterrupt):
            run(family, pipe)
        hook.remove()
        assert torch.equal(run(family, pipe), expected)
    assert blocks_of(pipe.controlnet) == blocks
    assert torch.equal(run(family, pipe), plain)


def test_a_call_more_than_expected_in_a_spared_step_is_refused():
    trajectory = Trajectory(StepPlan.build(STEPS, CONFIG))
    for _ in range(FORECAST[0]):
        assert not trajectory.spare_step()
        assert not trajectory.begin_call((1,))
        trajectory.record(torch.zeros(1))
        trajectory.advance()
    assert trajectory.spare_step() and trajectory.begin_call((1,))
    with pytest.raises(SpectrumError, match="called more often from step 2 on"):
        trajectory.begin_call((1,))
