"""Compiled blocks: forecast steps neither compile anything nor run them.

The backends are those that trace only; machine code from inductor takes a minute for one tiny model.
"""

from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from spectrum import SpectrumConfig, attach
from tests.spectrum.tiny import FAMILIES, Family

CONFIG = SpectrumConfig(warmup_steps=3)


@pytest.fixture(params=["flux", "sd3", "sdxl", "wan", "hunyuan"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def compile_blocks(pipe: Any, backend: str = "eager") -> None:
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


def test_blocks_compiled_while_attached(family):
    pipe = family.make()
    with attach(pipe, CONFIG) as handle:
        expected = family.run(pipe)
        compile_blocks(pipe, "aot_eager")
        torch.testing.assert_close(family.run(pipe), expected, rtol=1e-4, atol=1e-5)
        assert handle.statistics.forecast_calls > 0 and compiled()[0] > 0


def test_forecast_steps_compile_nothing(family):
    plain = family.make()
    compile_blocks(plain)
    family.run(plain)
    needed = compiled()
    torch._dynamo.reset()
    counters.clear()

    pipe = family.make()
    compile_blocks(pipe)
    with attach(pipe, CONFIG):
        family.run(pipe)
        assert compiled() == needed
        with torch.compiler.set_stance("fail_on_recompile"):
            family.run(pipe)
    with torch.compiler.set_stance("fail_on_recompile"):
        family.run(pipe)
    assert compiled() == needed
