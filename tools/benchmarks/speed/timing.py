"""One call of a pipeline: its time, that of each step, which steps ran the denoiser whole, and the memory it took."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from tools.benchmarks.common.denoisers import last_query
from tools.benchmarks.common.device import host_clock, peak_bytes, reset_peak, synchronize

COMPILED = "_compiled_call_impl"  # where `module.compile()` puts the compiled call: nothing public tells


@dataclass(frozen=True)
class Run:
    """One call of a pipeline.

    Attributes:
        steps: Denoising steps.
        seconds: From the call to its latents.
        calls: Calls of the denoiser; those that Spectrum answers in its place are none.
        evaluated: Those that reached the last block.
        full_ms, forecast_ms: Time of each step but the first whose calls did all, or none, reach the last block.
        peak_bytes: The most memory that was allocated on the GPU, or resident on a CPU.
        history_bytes: What Spectrum kept of evaluated steps; None of other methods, which do not say.
    """

    steps: int
    seconds: float
    calls: int
    evaluated: int
    full_ms: tuple[float, ...]
    forecast_ms: tuple[float, ...]
    peak_bytes: int
    history_bytes: int | None = None

    def scaled_seconds(self, steps: int) -> float:
        """Return the time of so many steps: its own, with further ones of the usual time in which all is evaluated."""
        further = steps - self.steps
        return self.seconds + (further * statistics.median(self.full_ms) / 1e3 if further else 0)


@dataclass
class Counts:
    """What a denoiser was called for so far: its calls, and those of them that reached the last block."""

    calls: int = 0
    evaluated: int = 0


@contextmanager
def counting(denoiser: nn.Module) -> Iterator[Counts]:
    """Count a denoiser's calls, before a method is switched on: what answers in its place is then not counted.

    A hook inside compiled code is not heard again once that is compiled, so there the compiled part itself is counted:
    the denoiser, or its last block.
    """
    counts = Counts()

    def count(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            setattr(counts, name, getattr(counts, name) + 1)

        return hook

    last, compiled = last_query(denoiser), _compiled_around(denoiser)
    if compiled is None:
        hooks = [last.register_forward_pre_hook(count("evaluated"))]
    else:
        original = vars(compiled)[COMPILED]

        def counted(*args: Any, **kwargs: Any) -> Any:
            counts.evaluated += 1
            counts.calls += compiled is denoiser
            return original(*args, **kwargs)

        setattr(compiled, COMPILED, counted)
        hooks = []
    if compiled is not denoiser:
        hooks.append(denoiser.register_forward_pre_hook(count("calls")))
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()
        if compiled is not None:
            setattr(compiled, COMPILED, original)


def _compiled_around(denoiser: nn.Module) -> nn.Module | None:
    """Return the outermost compiled module that the last query projection is in; None where nothing is compiled."""
    last = last_query(denoiser)
    around = (one for one in denoiser.modules() if any(inner is last for inner in one.modules()))
    return next((one for one in around if vars(one).get(COMPILED) is not None), None)


def timed_call(pipe: Any, arguments: dict[str, Any], steps: int, counts: Counts) -> Run:
    """Call the pipeline once, with the noise of seed 0.

    Args:
        pipe: The pipeline.
        arguments: Of its call.
        steps: Denoising steps.
        counts: Of its denoiser.
    """
    device: torch.device = pipe.device
    calls, evaluated = counts.calls, counts.evaluated
    ticks: list[tuple[Any, int]] = []  # of each step's end: when, and how many evaluations before

    def step_end(*_: Any) -> dict[str, Any]:
        ticks.append((_now(device), counts.evaluated))
        return {}

    reset_peak(device)
    synchronize(device)
    clock = host_clock(device)
    start = clock()
    pipe(
        **arguments,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(0),
        callback_on_step_end=step_end,
    )
    synchronize(device)
    seconds = clock() - start

    durations: dict[bool, list[float]] = {True: [], False: []}
    for (begin, before), (end, after) in pairwise(ticks):
        durations[after > before].append(_milliseconds(begin, end))
    return Run(
        steps,
        seconds,
        counts.calls - calls,
        counts.evaluated - evaluated,
        tuple(durations[True]),
        tuple(durations[False]),
        peak_bytes(device),
    )


def _now(device: torch.device) -> Any:
    """Return a moment of the device's own, which nothing waits for."""
    if device.type != "cuda":
        return host_clock(device)()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _milliseconds(begin: Any, end: Any) -> float:
    return 1e3 * (end - begin) if isinstance(begin, float) else begin.elapsed_time(end)
