"""What must hold of every family, for any number of steps: checked of all with few, of some kinds with all options."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from spectrum import SpectrumConfig, attach
from spectrum.denoisers import spec_of
from spectrum.stacks import heads_of
from tests.spectrum.probe import (
    Watch,
    blocks_of,
    check_forecasts,
    denoiser_of,
    in_bfloat16,
    stacks_of,
    to_bfloat16,
    traces_of,
)
from tests.spectrum.tiny import Family


def check_every_step_evaluated(family: Family, *, guidance: bool, steps: int, target: str = "features") -> None:
    """With every step evaluated the pipeline makes the same bits as without Spectrum."""
    pipe = family.make()
    expected = family.run(pipe, guidance=guidance, num_inference_steps=steps)
    with attach(pipe, SpectrumConfig(warmup_steps=steps), target=target) as handle:
        assert torch.equal(family.run(pipe, guidance=guidance, num_inference_steps=steps), expected)
    assert handle.statistics.evaluated_calls == steps * family.branches(guidance)
    assert handle.statistics.evaluated_steps == steps
    assert handle.statistics.forecast_calls == handle.statistics.history_bytes == 0


def check_forecast_steps(
    family: Family, config: SpectrumConfig, *, steps: int, batch: int, guidance: bool, each: int = 1
) -> None:
    """On forecast steps no block runs and the forecast enters the heads; the statistics say the same."""
    pipe = family.make()
    with attach(pipe, config) as handle:
        watch = Watch(denoiser_of(pipe))
        options = {family.per_prompt: each, "num_inference_steps": steps}
        samples = family.run(pipe, batch=batch, guidance=guidance, **options)
    assert len(samples) == batch * each
    plan, branches = handle.plan_for(steps), family.branches(guidance)
    assert len(plan.forecast) >= 3
    assert len(watch.calls) == steps * branches
    for branch in range(branches):
        calls = watch.calls[branch::branches]
        assert [call["blocks"] for call in calls] == [
            len(blocks_of(denoiser_of(pipe))) if step in plan.evaluated else 0 for step in range(steps)
        ]
        assert sorted(calls[0]["features"]) == list(range(len(spec_of(denoiser_of(pipe)).heads)))
        for head in calls[0]["features"]:
            check_forecasts([call["features"][head] for call in calls], plan)
    statistics = handle.statistics
    assert (statistics.num_steps, statistics.steps, statistics.branches) == (steps, steps, branches)
    assert statistics.evaluated_calls == len(plan.evaluated) * branches
    assert statistics.forecast_calls == len(plan.forecast) * branches
    assert statistics.evaluated_steps == len(plan.evaluated)
    numel = sum(feature.numel() for feature in watch.calls[0]["features"].values())
    assert statistics.history_bytes == branches * plan.history_bytes(numel, torch.float32)


def check_history_dtype(family: Family, config: SpectrumConfig, *, steps: int) -> None:
    """The history keeps features in the dtype of the model, and loses nothing by it."""
    pipe = family.make()
    for module in pipe.components.values():
        if isinstance(module, nn.Module):
            to_bfloat16(module)
    with attach(pipe, config) as handle:
        watch = Watch(denoiser_of(pipe))
        family.run(pipe, batch=2, num_inference_steps=steps, **in_bfloat16(family.arguments(2, True)))
    assert handle.statistics.forecast_calls > 0
    features = [feature for call in watch.calls if call["blocks"] for feature in call["features"].values()]
    # Wan hands its head a float32 copy; storing it in the model's dtype must lose nothing.
    assert all(torch.equal(feature.bfloat16().to(feature.dtype), feature) for feature in features)
    numel = sum(feature.numel() for feature in watch.calls[0]["features"].values())
    assert handle.statistics.history_bytes == family.branches(True) * handle.plan_for(steps).history_bytes(
        numel, torch.bfloat16
    )


def check_no_trace(
    family: Family, config: SpectrumConfig, *, steps: int, interrupted: int, target: str = "features"
) -> None:
    """A call interrupted at that step changes no later one, and after detach everything is as it was.

    Of the target `output` it is that evaluated step.
    """
    pipe = family.make()
    plain = family.run(pipe, num_inference_steps=steps)
    before, stacks = traces_of(pipe), stacks_of(pipe)
    handle = attach(pipe, config, target=target)
    assert traces_of(pipe) != before
    expected = family.run(pipe, num_inference_steps=steps)
    assert handle.statistics.forecast_calls > 0
    assert not torch.equal(expected, plain)
    for attempt in range(2):
        with pytest.raises(RuntimeError, match="stop"), failing(pipe, interrupted * family.branches(True)):
            family.run(pipe, batch=2, num_inference_steps=steps)
        assert stacks_of(pipe) == stacks
        if attempt == 0:
            assert torch.equal(family.run(pipe, num_inference_steps=steps), expected)
    handle.detach()
    handle.detach()
    assert traces_of(pipe) == before
    assert torch.equal(family.run(pipe, num_inference_steps=steps), plain)


@contextlib.contextmanager
def failing(pipe: Any, call: int) -> Iterator[None]:
    """Make the denoiser's call of that number from now raise at its head."""
    calls = itertools.count()

    def fail(*_: object) -> None:
        if next(calls) == call:
            raise RuntimeError("stop")

    denoiser = denoiser_of(pipe)
    hook = heads_of(denoiser, spec_of(denoiser))[0][1].register_forward_pre_hook(fail)
    try:
        yield
    finally:
        hook.remove()


def check_calls_apart(
    family: Family, config: SpectrumConfig, calls: list[dict[str, Any]], target: str = "features"
) -> None:
    """Each call makes what it makes on a pipeline of its own, whatever was called before; the first comes again."""
    pipe = family.make()
    with attach(pipe, config, target=target):
        outputs = [family.run(pipe, **call) for call in (*calls, calls[0])]
    for call, output in zip(calls[1:], outputs[1:-1], strict=True):
        fresh = family.make()
        # Lumina leaves a parameter as the memory was that it got.
        denoiser_of(fresh).load_state_dict(denoiser_of(pipe).state_dict())
        with attach(fresh, config, target=target):
            assert torch.equal(family.run(fresh, **call), output)
    assert torch.equal(outputs[0], outputs[-1])
