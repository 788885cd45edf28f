"""What single families do beside a plain call: residuals between blocks, more guidance, oblong pictures."""

import dataclasses

import pytest
import torch
from diffusers import (
    Flux2KleinKVPipeline,
    SkyReelsV2DiffusionForcingPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from spectrum import SpectrumConfig, SpectrumError, attach
from tests.spectrum.probe import CONFIG, EVALUATED, FORECAST, Watch, check_forecasts, denoiser_of, stacks_of
from tests.spectrum.tiny import FAMILIES, STEPS

# Residuals as the family's ControlNets give them, for one sample with guidance.
RESIDUALS = {
    "bria": lambda: {
        "controlnet_block_samples": [torch.ones(2, 16, 32)],
        "controlnet_single_block_samples": [torch.ones(2, 10, 32)],
    },
    "chroma": lambda: {
        "controlnet_block_samples": [torch.ones(1, 4, 32)],
        "controlnet_single_block_samples": [torch.ones(1, 4, 32)],
    },
    "hunyuan_dit": lambda: {"controlnet_block_samples": [torch.ones(2, 4, 16)]},
    "qwen": lambda: {"controlnet_block_samples": [torch.ones(1, 4, 32)]},
    "sana": lambda: {"controlnet_block_samples": (torch.ones(2, 16, 16),)},
    "z_image": lambda: {"controlnet_block_samples": {0: torch.ones(2, 1, 32)}},
}


@pytest.mark.parametrize("name", RESIDUALS)
def test_residuals_matter_on_evaluated_steps_alone(name):
    family = FAMILIES[name]
    outputs = []
    for residuals in (dict, RESIDUALS[name]):
        pipe = family.make()
        denoiser = denoiser_of(pipe)
        denoiser.register_forward_pre_hook(
            lambda _, args, kwargs, residuals=residuals: (args, {**kwargs, **residuals()}), with_kwargs=True
        )
        plain = family.run(pipe)
        with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
            assert torch.equal(family.run(pipe), plain)
        with attach(pipe, CONFIG) as handle:
            watch = Watch(denoiser)
            outputs.append(family.run(pipe))
        branches = family.branches(True)
        assert handle.statistics.forecast_calls == branches * len(FORECAST)
        check_forecasts([call["features"][0] for call in watch.calls[::branches]], handle.plan_for(STEPS))
    assert not torch.allclose(*outputs)


def test_ltx2_with_all_its_guidance():
    """Prompts, perturbed blocks and separated streams: three calls a step, the first with twice the rows."""
    family = FAMILIES["ltx2"]
    pipe = family.make()
    options = {"stg_scale": 1.0, "modality_scale": 3.0, "spatio_temporal_guidance_blocks": [1]}
    plain = family.run(pipe, **options)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        assert torch.equal(family.run(pipe, **options), plain)
    with attach(pipe, CONFIG) as handle:
        watch = Watch(pipe.transformer)
        family.run(pipe, **options)
    assert handle.statistics.branches == 3
    assert (handle.statistics.evaluated_calls, handle.statistics.forecast_calls) == (
        3 * len(EVALUATED),
        3 * len(FORECAST),
    )
    for branch in range(3):
        for head in (0, 1):
            features = [call["features"][head] for call in watch.calls[branch::3]]
            check_forecasts(features, handle.plan_for(STEPS))


@pytest.mark.parametrize("name", ["hidream", "lumina2", "qwen", "sdxl", "wan", "z_image"])
def test_oblong_pictures(name):
    family = FAMILIES[name]
    pipe = family.make()
    plain = family.run(pipe, width=64, guidance=False)
    with attach(pipe, CONFIG) as handle:
        assert family.run(pipe, width=64, guidance=False).shape == plain.shape
    assert handle.statistics.forecast_calls == len(FORECAST)


def test_guidance_that_ends_part_way_leaves_the_other_branch_its_plan():
    family = FAMILIES["lumina2"]
    pipe = family.make()
    with attach(pipe, CONFIG) as handle:
        family.run(pipe, cfg_trunc_ratio=0.5)
    statistics = handle.statistics
    assert (statistics.branches, statistics.evaluated_steps) == (2, len(EVALUATED))
    assert statistics.evaluated_calls + statistics.forecast_calls == STEPS + 4


def test_flux2_whose_first_step_alone_sees_the_reference_picture():
    family = dataclasses.replace(FAMILIES["flux2"], pipeline=Flux2KleinKVPipeline, arguments=klein_kv_arguments)
    pipe = family.make()
    plain = family.run(pipe)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        assert torch.equal(family.run(pipe), plain)
    with attach(pipe, CONFIG) as handle:
        family.run(pipe)
    assert handle.statistics.forecast_calls == len(FORECAST)


def klein_kv_arguments(batch, guidance):
    given = FAMILIES["flux2"].arguments(batch, guidance)
    return {"prompt_embeds": given["prompt_embeds"], "image": Image.new("RGB", (64, 64), "teal")}


def test_stable_diffusion_1():
    def unet():
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            norm_num_groups=8,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=2,
            cross_attention_dim=32,
        )

    family = dataclasses.replace(
        FAMILIES["sdxl"],
        pipeline=StableDiffusionPipeline,
        denoiser=unet,
        arguments=FAMILIES["wan"].arguments,
        components={"requires_safety_checker": lambda: False},
    )
    pipe = family.make()
    plain = family.run(pipe)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        assert torch.equal(family.run(pipe), plain)
    with attach(pipe, CONFIG) as handle:
        family.run(pipe)
    assert handle.statistics.forecast_calls == len(FORECAST)


def test_a_pipeline_that_steps_other_schedulers_is_refused():
    family = FAMILIES["skyreels"]
    pipe = SkyReelsV2DiffusionForcingPipeline(**family.make().components)
    stacks = stacks_of(pipe)
    prompts = family.arguments(1, True)
    with attach(pipe, CONFIG) as handle:
        with pytest.raises(SpectrumError, match=r"called 9 times without a step .* use this pipeline without it"):
            pipe(
                prompt=None, height=32, width=32, num_frames=5, base_num_frames=5, num_inference_steps=STEPS, **prompts
            )
        assert handle.statistics.forecast_calls == 0
    assert stacks_of(pipe) == stacks


def test_an_interrupted_embedder_of_a_forecast_leaves_no_trace(flux):
    """What neither the hook on the head nor the one after the denoiser hears."""
    pipe = flux.make()
    plain, stacks = flux.run(pipe), stacks_of(pipe)

    def fail(*_):
        if handle.statistics.forecast_calls == 2:
            raise KeyboardInterrupt

    for again in (True, False):
        with attach(pipe, CONFIG) as handle:
            expected = flux.run(pipe)
            hook = pipe.transformer.x_embedder.register_forward_pre_hook(fail)
            with pytest.raises(KeyboardInterrupt):
                flux.run(pipe)
            hook.remove()
            assert not again or torch.equal(flux.run(pipe), expected)
        assert stacks_of(pipe) == stacks
        assert torch.equal(flux.run(pipe), plain)
