"""Every family of the table, through its real pipeline: what forecast steps run and compute, and no trace left."""

import contextlib
import inspect
import itertools

import pytest
import torch
from torch import nn

from spectrum import SpectrumConfig, attach
from spectrum.denoisers import heads_of, spec_of
from tests.spectrum.probe import (
    CONFIG,
    EVALUATED,
    Watch,
    blocks_of,
    check_forecasts,
    denoiser_of,
    in_bfloat16,
    stacks_of,
    to_bfloat16,
    traces_of,
)
from tests.spectrum.tiny import FAMILIES, STEPS


@pytest.mark.parametrize("guidance", [False, True], ids=["plain", "guided"])
def test_with_every_step_evaluated_nothing_changes(family, guidance):
    pipe = family.make()
    expected = family.run(pipe, guidance=guidance)
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)) as handle:
        assert torch.equal(family.run(pipe, guidance=guidance), expected)
    assert handle.statistics.evaluated_calls == STEPS * family.branches(guidance)
    assert handle.statistics.evaluated_steps == STEPS
    assert handle.statistics.forecast_calls == handle.statistics.history_bytes == 0


REPEATING = [name for name, family in FAMILIES.items() if family.repeats]
# The others encode their texts inside the pipeline, here by a stand-in for float32.
GIVEN_TEXTS = [name for name, family in FAMILIES.items() if not any(map(callable, family.replaced.values()))]


@pytest.mark.parametrize(("batch", "guidance"), [(1, False), (1, True), (2, False), (3, True)])
def test_forecast_steps_run_no_block_and_use_the_forecast(family, batch, guidance):
    check_forecast_steps(family, batch, guidance)


@pytest.mark.parametrize("family", REPEATING, indirect=True)
def test_several_samples_of_a_prompt_are_forecast_alike(family):
    """Of the families whose pipelines repeat the embeddings they are given; test_prompts gives texts."""
    check_forecast_steps(family, batch=2, guidance=True, each=2)


def check_forecast_steps(family, batch, guidance, each=1):
    pipe = family.make()
    with attach(pipe, CONFIG) as handle:
        watch = Watch(denoiser_of(pipe))
        samples = family.run(pipe, batch=batch, guidance=guidance, **{family.per_prompt: each})
    assert len(samples) == batch * each
    branches = family.branches(guidance)
    assert len(watch.calls) == STEPS * branches
    for branch in range(branches):
        calls = watch.calls[branch::branches]
        assert [call["blocks"] for call in calls] == [
            len(blocks_of(denoiser_of(pipe))) if step in EVALUATED else 0 for step in range(STEPS)
        ]
        for head in calls[0]["features"]:
            check_forecasts([call["features"][head] for call in calls], handle.plan_for(STEPS))
    statistics = handle.statistics
    assert (statistics.num_steps, statistics.steps, statistics.branches) == (STEPS, STEPS, branches)
    assert (statistics.evaluated_calls, statistics.forecast_calls) == (5 * branches, 4 * branches)
    assert statistics.evaluated_steps == len(EVALUATED)
    numel = sum(feature.numel() for feature in calls[0]["features"].values())
    assert statistics.history_bytes == branches * handle.plan_for(STEPS).history_bytes(numel, torch.float32)


def test_forecasts_stay_near_the_plain_output(family):
    pipe = family.make()
    plain = family.run(pipe, guidance=False)
    with attach(pipe, CONFIG):
        forecast = family.run(pipe, guidance=False)
    assert 0 < (forecast - plain).norm() / plain.norm() < 0.1


@pytest.mark.parametrize("family", GIVEN_TEXTS, indirect=True)
def test_history_keeps_the_dtype_of_the_model(family):
    pipe = family.make()
    for module in pipe.components.values():
        if isinstance(module, nn.Module):
            to_bfloat16(module)
    with attach(pipe, CONFIG) as handle:
        watch = Watch(denoiser_of(pipe))
        family.run(pipe, batch=2, **in_bfloat16(family.arguments(2, True)))
    features = [feature for call in watch.calls if call["blocks"] for feature in call["features"].values()]
    # Wan hands its head a float32 copy; storing it in the model's dtype must lose nothing.
    assert all(torch.equal(feature.bfloat16().to(feature.dtype), feature) for feature in features)
    numel = sum(feature.numel() for feature in watch.calls[0]["features"].values())
    assert handle.statistics.history_bytes == family.branches(True) * handle.plan_for(STEPS).history_bytes(
        numel, torch.bfloat16
    )


# No trace


def test_detach_leaves_everything_as_it_was(family):
    pipe = family.make()
    expected = family.run(pipe)
    before = traces_of(pipe)
    handle = attach(pipe, CONFIG)
    assert traces_of(pipe) != before
    assert not torch.equal(family.run(pipe), expected)
    handle.detach()
    handle.detach()
    assert traces_of(pipe) == before
    assert torch.equal(family.run(pipe), expected)


@pytest.mark.parametrize("step", [1, 3])
def test_an_interrupted_trajectory_leaves_no_trace(family, step):
    pipe = family.make()
    plain = family.run(pipe)
    before, stacks = traces_of(pipe), stacks_of(pipe)
    denoiser = denoiser_of(pipe)
    with attach(pipe, CONFIG):
        expected = family.run(pipe)
        for attempt in range(2):
            with pytest.raises(RuntimeError, match="stop"), failing(denoiser, step * family.branches(True)):
                family.run(pipe, batch=2)
            assert stacks_of(pipe) == stacks
            if attempt == 0:
                assert torch.equal(family.run(pipe), expected)
    assert traces_of(pipe) == before
    assert torch.equal(family.run(pipe), plain)


@contextlib.contextmanager
def failing(denoiser, call):
    """Inside, the denoiser's call of that number from now raises at its head."""
    calls = itertools.count()

    def fail(*_):
        if next(calls) == call:
            raise RuntimeError("stop")

    hook = heads_of(denoiser, spec_of(denoiser))[0][1].register_forward_pre_hook(fail)
    try:
        yield
    finally:
        hook.remove()


def test_one_call_does_not_colour_the_next(family):
    calls = [{"batch": 2}, {"num_inference_steps": 2, "guidance": False}, {"batch": 3, "size": 48}, {"batch": 2}]
    pipe = family.make()
    with attach(pipe, CONFIG):
        outputs = [family.run(pipe, **call) for call in calls]
    for call, output in zip(calls[1:], outputs[1:], strict=True):
        fresh = family.make()
        with attach(fresh, CONFIG):
            assert torch.equal(family.run(fresh, **call), output)
    assert torch.equal(outputs[0], outputs[-1])


def test_scheduler_methods_keep_their_signatures(family):
    pipe = family.make()
    methods = ("set_timesteps", "step")
    plain = [inspect.signature(getattr(pipe.scheduler, name)) for name in methods]
    with attach(pipe, CONFIG):
        assert [inspect.signature(getattr(pipe.scheduler, name)) for name in methods] == plain
