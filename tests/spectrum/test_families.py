"""Every family of the table, through its real pipeline: the contract, with as few steps as prove it.

For each of them: evaluated steps change no bit, with guidance and without; on forecast steps no block runs and what
enters each head is the forecast, also in batches and, where the pipeline repeats given embeddings, for several samples
of a prompt (`test_prompts` gives texts to the others that the project uses); features are kept in the model's dtype;
forecasts stay near the plain output; nothing is left behind, by an interrupted call either; calls do not change each
other. `test_history` keeps features elsewhere, `test_denoisers` looks at the rows of the table. What does not depend
on the denoiser's structure is tried in all its combinations on six kinds: `test_kinds`.
"""

import inspect

import pytest
import torch

from spectrum import SpectrumConfig, attach
from tests.spectrum.contract import (
    check_calls_apart,
    check_every_step_evaluated,
    check_forecast_steps,
    check_history_dtype,
    check_no_trace,
)
from tests.spectrum.probe import FEW
from tests.spectrum.tiny import FAMILIES

# The others encode their texts inside the pipeline, here by a stand-in for float32.
GIVEN_TEXTS = [name for name, family in FAMILIES.items() if not any(map(callable, family.replaced.values()))]


def test_with_every_step_evaluated_nothing_changes(family):
    check_every_step_evaluated(family, guidance=True, steps=3)


def test_forecast_steps_run_no_block_and_use_the_forecast(family):
    check_forecast_steps(family, FEW, steps=6, batch=2, guidance=True, each=2 if family.repeats else 1)


def test_without_guidance_evaluated_steps_change_nothing_and_forecasts_stay_near(family):
    options = {"guidance": False, "num_inference_steps": 6}
    pipe = family.make()
    plain = family.run(pipe, **options)
    with attach(pipe, SpectrumConfig(warmup_steps=6)):
        assert torch.equal(family.run(pipe, **options), plain)
    with attach(pipe, FEW) as handle:
        forecast = family.run(pipe, **options)
    assert (handle.statistics.branches, handle.statistics.forecast_calls) == (1, 3)
    assert 0 < (forecast - plain).norm() / plain.norm() < 0.15


@pytest.mark.parametrize("family", GIVEN_TEXTS, indirect=True)
def test_history_keeps_the_dtype_of_the_model(family):
    check_history_dtype(family, FEW, steps=3)


def test_neither_detach_nor_an_interrupted_forecast_leaves_a_trace(family):
    check_no_trace(family, FEW, steps=4, interrupted=2)


def test_one_call_does_not_colour_the_next(family):
    check_calls_apart(
        family,
        FEW,
        [{"batch": 2, "num_inference_steps": 4}, {"size": 48, "num_inference_steps": 3, "guidance": False}],
    )


def test_scheduler_methods_keep_their_signatures(family):
    pipe = family.make()
    methods = ("set_timesteps", "step")
    plain = [inspect.signature(getattr(pipe.scheduler, name)) for name in methods]
    with attach(pipe, FEW):
        assert [inspect.signature(getattr(pipe.scheduler, name)) for name in methods] == plain
