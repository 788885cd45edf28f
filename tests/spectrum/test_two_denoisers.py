"""Wan2.2: two denoisers that share a trajectory, each with its own plan, warm-up and history."""

import dataclasses

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from spectrum import SpectrumConfig, SpectrumError, Statistics, attach
from tests.spectrum.probe import CONFIG, Watch, check_forecasts, denoisers_of, refuses, stacks_of, traces_of
from tests.spectrum.tiny import FAMILIES, Family
from tests.spectrum.tiny.classic import wan

STEPS = 16


def wan22(boundary: float | None = 0.8, **components) -> Family:
    return dataclasses.replace(
        FAMILIES["wan"],
        name="wan22",
        components={"transformer_2": second, "boundary_ratio": lambda: boundary, **components},
        call={"num_frames": 5, "num_inference_steps": STEPS},
    )


def second():
    torch.manual_seed(1)
    return wan().eval()


def calls_of(watch):
    return [bool(call["blocks"]) for call in watch.calls]


def expected_calls(handle, num_steps, branches):
    evaluated = handle.plan_for(num_steps).evaluated if num_steps else ()
    return [step in evaluated for step in range(num_steps) for _ in range(branches)]


@pytest.mark.parametrize("guidance", [False, True], ids=["plain", "guided"])
@pytest.mark.parametrize("boundary", [0.9, 0.8, 0.5, 0.0, 1.1])
@pytest.mark.parametrize("scheduler", [None, FlowMatchEulerDiscreteScheduler], ids=["unipc", "euler"])
def test_each_has_its_own_plan_for_its_part_of_the_steps(boundary, guidance, scheduler):
    family = wan22(boundary)
    pipe = family.make()
    if scheduler:
        pipe.scheduler = scheduler(shift=5.0)
    plain = [Watch(denoiser) for denoiser in denoisers_of(pipe)]
    family.run(pipe, guidance=guidance)
    branches = family.branches(guidance)
    parts = [len(watch.calls) // branches for watch in plain]
    assert sum(parts) == STEPS

    with attach(pipe, CONFIG) as handle:
        watches = [Watch(denoiser) for denoiser in denoisers_of(pipe)]
        family.run(pipe, guidance=guidance)
    for watch, part, statistics in zip(watches, parts, handle.statistics_by_denoiser.values(), strict=True):
        assert calls_of(watch) == expected_calls(handle, part, branches)
        assert (statistics.num_steps, statistics.steps) == (part, part)
        assert statistics.evaluated_steps == (len(handle.plan_for(part).evaluated) if part else 0)
        assert statistics.evaluated_calls == branches * statistics.evaluated_steps
    assert handle.statistics == sum(handle.statistics_by_denoiser.values(), Statistics())
    assert handle.statistics.steps == STEPS


def test_no_history_crosses_the_boundary():
    """Each forecasts from what it computed itself."""
    pipe = wan22().make()
    with attach(pipe, CONFIG) as handle:
        watches = [Watch(denoiser) for denoiser in denoisers_of(pipe)]
        wan22().run(pipe)
    for watch, statistics in zip(watches, handle.statistics_by_denoiser.values(), strict=True):
        assert statistics.forecast_calls > 2
        for branch in range(2):
            features = [call["features"][0] for call in watch.calls[branch::2]]
            check_forecasts(features, handle.plan_for(statistics.num_steps))


def test_with_every_step_evaluated_nothing_changes():
    family = wan22()
    pipe = family.make()
    plain = family.run(pipe, batch=2)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)) as handle:
        assert torch.equal(family.run(pipe, batch=2), plain)
    assert handle.statistics.evaluated_steps == STEPS and handle.statistics.history_bytes == 0


@pytest.mark.parametrize("step", [1, 3, 12, 14])
def test_an_interrupted_trajectory_leaves_no_trace(step):
    family = wan22()
    pipe = family.make()
    plain = family.run(pipe)
    before, stacks = traces_of(pipe), stacks_of(pipe)

    def stop(pipe, i, timestep, tensors):
        if i == step:
            raise RuntimeError("stop")
        return tensors

    with attach(pipe, CONFIG):
        expected = family.run(pipe)
        with pytest.raises(RuntimeError, match="stop"):
            family.run(pipe, callback_on_step_end=stop)
        assert stacks_of(pipe) == stacks
        assert torch.equal(family.run(pipe), expected)
        with pytest.raises(RuntimeError, match="stop"):
            family.run(pipe, callback_on_step_end=stop)
    assert traces_of(pipe) == before
    assert torch.equal(family.run(pipe), plain)


def test_the_first_history_is_freed_at_the_boundary():
    family = wan22()
    pipe = family.make()
    held = []

    def note(pipe, i, timestep, tensors):
        held.append(
            [len(follower._latest._branches) if follower._latest else 0 for follower in handle._followers.values()]
        )
        return tensors

    with attach(pipe, CONFIG) as handle:
        family.run(pipe, callback_on_step_end=note)
        first = handle.statistics_by_denoiser["transformer"].steps
    assert held == [[2, 0]] * (first - 1) + [[0, 0]] + [[0, 2]] * (STEPS - first - 1) + [[0, 0]]


@pytest.mark.parametrize("boundary", [None, 0.0])
def test_without_a_low_noise_part_the_second_denoiser_has_no_part(boundary):
    family = wan22(boundary)
    pipe = family.make()
    with attach(pipe, CONFIG) as handle:
        family.run(pipe)
    assert handle.statistics_by_denoiser["transformer"].steps == STEPS
    assert handle.statistics_by_denoiser["transformer_2"] == Statistics()


def test_with_the_low_noise_denoiser_alone():
    family = wan22(1.1)
    pipe = family.make()
    pipe.register_modules(transformer=None)
    plain = family.run(pipe)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        assert torch.equal(family.run(pipe), plain)
    with attach(pipe, CONFIG) as handle:
        watch = Watch(pipe.transformer_2)
        family.run(pipe)
    assert list(handle.statistics_by_denoiser) == ["transformer_2"]
    assert calls_of(watch) == expected_calls(handle, STEPS, 2)


def test_timesteps_for_every_token():
    """Wan2.2 5B: one denoiser, a timestep for each token."""
    family = wan22(None, expand_timesteps=lambda: True, transformer_2=lambda: None)
    pipe = family.make()
    plain = family.run(pipe)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        assert torch.equal(family.run(pipe), plain)
    with attach(pipe, CONFIG) as handle:
        family.run(pipe)
    assert handle.statistics.evaluated_steps == len(handle.plan_for(STEPS).evaluated)


def test_what_is_wrong_with_the_second_denoiser_is_refused():
    pipe = wan22().make()
    with attach(pipe, CONFIG):
        refuses(pipe, "already attached")
        pipe.register_modules(transformer_2=second())
        with pytest.raises(SpectrumError, match="denoiser was replaced"):
            wan22().run(pipe)
    pipe.transformer_2.compile(backend="eager")
    refuses(pipe, "compiled as a whole")
    pipe.transformer_2 = torch.nn.Linear(1, 1)
    with pytest.raises(SpectrumError, match="does not know the denoiser Linear"):
        attach(pipe, CONFIG)
