"""Six kinds of denoisers with every combination of batch, guidance, dtype and interruption, over nine steps.

`test_families` proves the contract for every family, once. What is left to go wrong depends on how a denoiser is
built, and these six are all the ways: `flux` has a stack of two streams and one of a single stream, packed latents and
guidance in calls of its own; `sd3` joins its streams to the last block and stacks both branches of guidance in one
call; `sdxl` is a UNet, whose stacks differ in shape, hand residuals across and hold a single block; `wan` hands its
head a wider copy of what it computed, and has a multistep sampler; `hunyuan` makes a mask and a text refiner from its
prompts; `ltx2` has two heads with features of different shapes, and returns two tensors.
"""

import pytest

from tests.spectrum.contract import (
    check_calls_apart,
    check_every_step_evaluated,
    check_forecast_steps,
    check_history_dtype,
    check_no_trace,
)
from tests.spectrum.probe import CONFIG, EVALUATED, FORECAST
from tests.spectrum.tiny import FAMILIES, STEPS

KINDS = ("flux", "sd3", "sdxl", "wan", "hunyuan", "ltx2")


@pytest.fixture(params=KINDS)
def kind(request):
    return FAMILIES[request.param]


@pytest.mark.parametrize("guidance", [False, True], ids=["plain", "guided"])
def test_with_every_step_evaluated_nothing_changes(kind, guidance):
    check_every_step_evaluated(kind, guidance=guidance, steps=STEPS)


@pytest.mark.parametrize(("batch", "guidance"), [(1, False), (1, True), (2, False), (3, True)])
def test_forecast_steps_run_no_block_and_use_the_forecast(kind, batch, guidance):
    check_forecast_steps(kind, CONFIG, steps=STEPS, batch=batch, guidance=guidance)


def test_several_samples_of_a_prompt_are_forecast_alike(sdxl):
    """Of the kind whose pipeline repeats the embeddings it is given; `test_prompts` gives texts to the others."""
    check_forecast_steps(sdxl, CONFIG, steps=STEPS, batch=2, guidance=True, each=2)


def test_history_keeps_the_dtype_of_the_model(kind):
    check_history_dtype(kind, CONFIG, steps=STEPS)


@pytest.mark.parametrize("step", [EVALUATED[1], FORECAST[0]])
def test_neither_detach_nor_an_interrupted_step_leaves_a_trace(kind, step):
    check_no_trace(kind, CONFIG, steps=STEPS, interrupted=step)


def test_one_call_does_not_colour_the_next(kind):
    check_calls_apart(
        kind, CONFIG, [{"batch": 2}, {"num_inference_steps": 2, "guidance": False}, {"batch": 3, "size": 48}]
    )
