"""Compiled blocks: forecast steps neither compile anything nor run them.

The backends are those that trace only; machine code from inductor takes a minute for one tiny model.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from spectrum import SpectrumConfig, attach
from tests.spectrum.tiny import FAMILIES, Family

STEPS = 6
CONFIG = SpectrumConfig(warmup_steps=2, flex_window=1)  # evaluates 0 1 3, forecasts 2 4 5


@pytest.fixture(params=["flux", "sd3", "sdxl", "wan", "hunyuan"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def compile_blocks(pipe: Any, backend: str) -> None:
    if hasattr(pipe, "unet"):
        for block in (*pipe.unet.down_blocks, pipe.unet.mid_block, *pipe.unet.up_blocks):
            block.compile(backend=backend)
    elif pipe.transformer._repeated_blocks:
        pipe.transformer.compile_repeated_blocks(backend=backend)
    else:  # SD3 does not say which of its blocks repeat
        for block in pipe.transformer.transformer_blocks:
            block.compile(backend=backend)


def compiled() -> tuple[int, dict[str, int]]:
    return counters["stats"]["unique_graphs"], dict(counters["frames"])


def test_blocks_compile_in_the_first_evaluated_steps_and_never_again(family):
    pipe = family.make()
    after_step: list[tuple[int, dict[str, int]]] = []

    def note(pipe, i, timestep, tensors):
        after_step.append(compiled())
        return tensors

    with attach(pipe, CONFIG) as handle:
        expected = family.run(pipe, num_inference_steps=STEPS)
        assert compiled()[0] == 0
        compile_blocks(pipe, "eager")
        made = family.run(pipe, num_inference_steps=STEPS, callback_on_step_end=note)
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
        assert handle.statistics.forecast_calls > 0
        assert after_step[1][0] > 0 and after_step[1:] == [after_step[1]] * (STEPS - 1)
        with torch.compiler.set_stance("fail_on_recompile"):
            assert torch.equal(family.run(pipe, num_inference_steps=STEPS), made)
    with torch.compiler.set_stance("fail_on_recompile"):
        family.run(pipe, num_inference_steps=STEPS)
    assert compiled() == after_step[1]


def test_blocks_compiled_with_autograd_traced_ahead(flux):
    pipe = flux.make()
    with attach(pipe, CONFIG) as handle:
        expected = flux.run(pipe, num_inference_steps=STEPS)
        compile_blocks(pipe, "aot_eager")
        torch.testing.assert_close(flux.run(pipe, num_inference_steps=STEPS), expected, rtol=1e-4, atol=1e-5)
        assert handle.statistics.forecast_calls > 0 and compiled()[0] > 0
