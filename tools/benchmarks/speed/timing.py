"""One call of a pipeline: its time, that of each step, which steps ran the denoiser whole, and the memory it took."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from tools.benchmarks.common.denoisers import denoiser_of, last_query
from tools.benchmarks.common.device import host_clock, peak_bytes, reset_peak, synchronize


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


def timed_call(pipe: Any, arguments: dict[str, Any], steps: int) -> Run:
    """Call the pipeline once, with the noise of seed 0."""
    denoiser = denoiser_of(pipe)
    device: torch.device = pipe.device
    counts = {"calls": 0, "evaluated": 0}
    ticks: list[tuple[Any, int]] = []  # of each step's end: when, and how many evaluations before

    def count(what: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            counts[what] += 1

        return hook

    def step_end(*_: Any) -> dict[str, Any]:
        ticks.append((_now(device), counts["evaluated"]))
        return {}

    hooks = [
        denoiser.register_forward_pre_hook(count("calls")),
        last_query(denoiser).register_forward_pre_hook(count("evaluated")),
    ]
    try:
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
    finally:
        for hook in hooks:
            hook.remove()

    durations: dict[bool, list[float]] = {True: [], False: []}
    for (begin, before), (end, after) in pairwise(ticks):
        durations[after > before].append(_milliseconds(begin, end))
    return Run(
        steps,
        seconds,
        counts["calls"],
        counts["evaluated"],
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
