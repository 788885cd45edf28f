"""The target `output`: every family keeps the contract, and on forecast steps nothing of the denoiser runs."""

import pytest
import torch

from spectrum import SpectrumConfig, attach
from tests.spectrum.contract import check_calls_apart, check_every_step_evaluated, check_no_trace
from tests.spectrum.listen import listening
from tests.spectrum.probe import CONFIG, FEW, check_forecasts, denoiser_of
from tests.spectrum.test_kinds import KINDS
from tests.spectrum.tiny import STEPS, Family

KIND = pytest.mark.parametrize("family", KINDS, indirect=True)


def check_outputs(family: Family, config: SpectrumConfig, *, steps: int, batch: int, guidance: bool) -> None:
    """What the pipeline gets on forecast steps is the oracle's sum, of the kind it got before, from no operation."""
    pipe, branches = family.make(), family.branches(guidance)
    with attach(pipe, config, target="output") as handle, listening(denoiser_of(pipe)) as calls:
        family.run(pipe, batch=batch, guidance=guidance, num_inference_steps=steps)
    plan = handle.plan_for(steps)
    assert len(plan.forecast) >= 3
    assert len(calls) == steps * branches
    for branch in range(branches):
        made = calls[branch::branches]
        assert [call.ran for call in made] == [step in plan.evaluated for step in range(steps)]
        assert not any(call.operations for call in made if not call.ran)
        assert len({(type(call.output), len(call.output)) for call in made}) == 1
        for place, first in enumerate(made[0].tensors):
            assert {call.tensors[place].dtype for call in made} == {first.dtype}
            check_forecasts([call.tensors[place] for call in made], plan)
    statistics = handle.statistics
    assert (statistics.num_steps, statistics.steps, statistics.branches) == (steps, steps, branches)
    assert statistics.evaluated_steps == len(plan.evaluated)
    assert statistics.evaluated_calls == len(plan.evaluated) * branches
    assert statistics.forecast_calls == len(plan.forecast) * branches
    numel = sum(tensor.numel() for tensor in calls[0].tensors)
    assert statistics.history_bytes == branches * plan.history_bytes(numel, torch.float32)


def test_with_every_step_evaluated_nothing_changes(family):
    check_every_step_evaluated(family, guidance=True, steps=3, target="output")


def test_forecasts_are_the_oracles_and_nothing_runs(family):
    check_outputs(family, FEW, steps=6, batch=2, guidance=True)


def test_neither_detach_nor_an_interrupted_step_leaves_a_trace(family):
    check_no_trace(family, FEW, steps=4, interrupted=2, target="output")


@KIND
@pytest.mark.parametrize(("batch", "guidance"), [(1, False), (3, True)])
def test_batches_and_guidance(family, batch, guidance):
    check_outputs(family, CONFIG, steps=STEPS, batch=batch, guidance=guidance)


@KIND
def test_one_call_does_not_colour_the_next(family):
    calls = [{"batch": 2}, {"num_inference_steps": 2, "guidance": False}, {"batch": 3, "size": 48}]
    check_calls_apart(family, CONFIG, calls, target="output")
