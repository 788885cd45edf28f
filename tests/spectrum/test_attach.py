"""Attach and detach: odd trajectories, living with others, refusals."""

import contextlib
import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig

from spectrum import SpectrumConfig, SpectrumError, Statistics, attach
from tests.spectrum.probe import (
    CONFIG,
    EVALUATED,
    FORECAST,
    Watch,
    blocks_of,
    denoiser_of,
    refuses,
    stacks_of,
)
from tests.spectrum.tiny import FAMILIES, STEPS, embeddings


def test_unet_with_odd_sizes(sdxl):
    pipe = sdxl.make()
    with attach(pipe, CONFIG) as handle:
        assert sdxl.run(pipe, size=40).shape[-2:] == (5, 5)
    assert handle.statistics.forecast_calls == len(FORECAST)


def test_a_trajectory_that_begins_part_way_gets_a_plan_for_what_is_left(flux):
    pipe = flux.make()
    text = {
        "encoder_hidden_states": embeddings(2, 6, 32),
        "pooled_projections": embeddings(2, 32),
        "txt_ids": torch.zeros(6, 3),
        "img_ids": torch.zeros(16, 3),
    }
    latents = embeddings(2, 16, 4)
    with attach(pipe, CONFIG) as handle, torch.no_grad():
        # As an img2img pipeline does it.
        pipe.scheduler.set_timesteps(STEPS + 4)
        pipe.scheduler.set_begin_index(4)
        for timestep in pipe.scheduler.timesteps[4:]:
            output = pipe.transformer(latents, timestep=timestep.expand(2), **text, return_dict=False)[0]
            latents = pipe.scheduler.step(output, timestep, latents, return_dict=False)[0]
    statistics = handle.statistics
    assert (statistics.num_steps, statistics.steps) == (STEPS, STEPS)
    assert (statistics.evaluated_calls, statistics.forecast_calls) == (len(EVALUATED), len(FORECAST))


def test_a_branch_that_joins_late_runs_whole():
    family = FAMILIES["sd3"]
    pipe = family.make()
    with attach(pipe, CONFIG) as handle:
        watch = Watch(denoiser_of(pipe))
        family.run(pipe, skip_guidance_layers=[1], skip_layer_guidance_start=0.1, skip_layer_guidance_stop=0.7)
    # Skip-layer guidance adds a second call on steps 1 to 6.
    assert handle.statistics.branches == 2
    assert handle.statistics.forecast_calls == len(FORECAST)
    assert len(watch.calls) == STEPS + 6 and handle.statistics.evaluated_calls == len(EVALUATED) + 6


def branches_held(handle: Any) -> int:
    return len(handle._followers["transformer"]._latest._branches)


def test_features_are_freed_after_the_last_step_and_by_detach(flux):
    pipe = flux.make()
    held = []

    def note(pipe, i, timestep, tensors):
        held.append(branches_held(handle))
        return tensors

    def stop(pipe, i, timestep, tensors):
        raise RuntimeError("stop")

    handle = attach(pipe, CONFIG)
    flux.run(pipe, callback_on_step_end=note)
    assert held == [2] * (STEPS - 1) + [0]
    with pytest.raises(RuntimeError, match="stop"):
        flux.run(pipe, callback_on_step_end=stop)
    assert branches_held(handle) == 0
    assert handle.statistics.steps == 1
    handle.detach()


def test_they_are_freed_by_the_next_call_and_by_detach_where_a_pipeline_has_no_progress_bar(flux):
    pipe = flux.make()
    pipe.progress_bar = lambda total: contextlib.nullcontext(SimpleNamespace(update=lambda: None))

    def stop(pipe, i, timestep, tensors):
        raise RuntimeError("stop")

    handle = attach(pipe, CONFIG)
    for end in (lambda: pipe.scheduler.set_timesteps(STEPS), handle.detach):
        with pytest.raises(RuntimeError, match="stop"):
            flux.run(pipe, callback_on_step_end=stop)
        assert branches_held(handle) == 2
        end()
        assert branches_held(handle) == 0
    assert handle.statistics.steps == 1
    assert "progress_bar" in vars(pipe)


@pytest.mark.parametrize("target", ["features", "output"])
@pytest.mark.parametrize("way", ["denoising_end", "interrupt", "error"])
def test_after_a_call_cut_short_others_find_the_denoiser_plain(sdxl, target, way):
    pipe, other = sdxl.make(), sdxl.make()
    other.unet = pipe.unet  # with a scheduler of its own
    expected = sdxl.run(other)

    def stop(pipe, i, timestep, tensors):
        if i == last and way == "error":
            raise RuntimeError("stop")
        pipe._interrupt = i == last
        return tensors

    cut = {"denoising_end": 0.7} if way == "denoising_end" else {"callback_on_step_end": stop}
    with attach(pipe, SpectrumConfig(warmup_steps=2, window_size=2), target=target) as handle:
        last = handle.plan_for(10).forecast[-1] - 1  # the next step is a forecast
        with contextlib.suppress(RuntimeError):
            sdxl.run(pipe, num_inference_steps=10, **cut)
        done = handle.statistics
        assert 0 < done.steps < 10
        assert torch.equal(sdxl.run(other), expected)
        assert handle.statistics == done


def test_a_copy_of_the_pipeline_ends_nothing(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG) as handle:
        twin = copy.deepcopy(pipe)

        def run_the_copy(pipe, i, timestep, tensors):
            if i == 2:
                flux.run(twin)
            return tensors

        flux.run(pipe, callback_on_step_end=run_the_copy)
        assert handle.statistics.forecast_calls == 2 * len(FORECAST)


def test_outside_of_a_trajectory_the_denoiser_runs_whole(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG) as handle:
        assert handle.statistics == Statistics()
        flux.run(pipe)
        done = handle.statistics
        watch = Watch(denoiser_of(pipe))
        with torch.no_grad():
            pipe.transformer(
                hidden_states=torch.zeros(5, 4, 4),
                encoder_hidden_states=torch.zeros(5, 6, 32),
                pooled_projections=torch.zeros(5, 32),
                timestep=torch.ones(5),
                img_ids=torch.zeros(4, 3),
                txt_ids=torch.zeros(6, 3),
            )
        assert watch.calls[0]["blocks"] == len(blocks_of(denoiser_of(pipe)))
        assert handle.statistics == done


# Living with others


def test_a_copy_of_the_scheduler_steps_itself_and_is_no_clock(flux):
    pipe = flux.make()

    def step_a_copy(pipe, i, timestep, tensors):
        if i == STEPS - 1:
            return tensors
        before = pipe.scheduler.step_index
        twin = copy.deepcopy(pipe.scheduler)
        twin.step(tensors["latents"], twin.timesteps[twin.step_index], tensors["latents"])
        assert (twin.step_index, pipe.scheduler.step_index) == (before + 1, before)
        twin.set_timesteps(3)
        assert (len(twin.timesteps), len(pipe.scheduler.timesteps)) == (3, STEPS)
        return tensors

    with attach(pipe, CONFIG):
        expected = flux.run(pipe)
        assert torch.equal(flux.run(pipe, callback_on_step_end=step_a_copy), expected)


# Refusals


def test_attaching_twice_is_refused(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG):
        refuses(pipe, "already attached to this denoiser")
    attach(pipe, CONFIG).detach()


def test_two_pipelines_on_one_scheduler_are_refused(flux):
    first, second = flux.make(), flux.make()
    second.scheduler = first.scheduler
    with attach(first, CONFIG):
        refuses(second, "give this pipeline its own scheduler")


def test_an_enabled_cache_is_refused_also_when_enabled_later(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG):
        pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
        with pytest.raises(SpectrumError, match="call its disable_cache"):
            flux.run(pipe)
    refuses(pipe, "call its disable_cache")


def test_a_denoiser_compiled_as_a_whole_is_refused(flux):
    pipe = flux.make()
    plain = pipe.transformer
    pipe.transformer = torch.compile(plain, backend="eager")
    with pytest.raises(SpectrumError, match="use compile_repeated_blocks"):
        attach(pipe, CONFIG)
    pipe.transformer = plain
    plain.compile(backend="eager")
    refuses(pipe, "use compile_repeated_blocks")


def test_pipelines_without_a_denoiser_are_refused(flux):
    pipe = flux.make()
    pipe.register_modules(transformer=None)
    with pytest.raises(SpectrumError, match="has no transformer or unet"):
        attach(pipe, CONFIG)


def test_replacing_scheduler_or_denoiser_while_attached_is_refused(flux):
    pipe = flux.make()
    scheduler, transformer = pipe.scheduler, pipe.transformer
    with attach(pipe, CONFIG):
        pipe.scheduler = type(scheduler).from_config(scheduler.config)
        with pytest.raises(SpectrumError, match="scheduler was replaced"):
            flux.run(pipe)
        pipe.scheduler = scheduler
        pipe.transformer = flux.make().transformer
        with pytest.raises(SpectrumError, match="denoiser was replaced"):
            flux.run(pipe)
        pipe.transformer = transformer
        flux.run(pipe)


def test_a_batch_that_changes_within_a_trajectory_is_refused(sdxl):
    pipe = sdxl.make()

    def drop_guidance(pipe, i, timestep, tensors):
        if i == 4:
            pipe._guidance_scale = 0.0
            return {name: tensor[-1:] for name, tensor in tensors.items()}
        return tensors

    names = ["prompt_embeds", "add_text_embeds", "add_time_ids"]
    stacks = stacks_of(pipe)
    with attach(pipe, CONFIG), pytest.raises(SpectrumError, match="at step 5: keep batch and size"):
        sdxl.run(pipe, callback_on_step_end=drop_guidance, callback_on_step_end_tensor_inputs=names)
    assert stacks_of(pipe) == stacks


def test_without_a_config_the_defaults_hold(flux):
    with attach(flux.make()) as handle:
        assert handle.plan_for(50).evaluated == (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 25, 31, 38, 46)
        assert handle.plan_for(50) is handle.plan_for(50)
