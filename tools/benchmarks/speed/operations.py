"""Counts what a step does at the real size: the real pipeline, run on tensors that have a shape and no numbers.

On torch's meta device nothing is computed and nothing stored, so a model of any size runs on any machine; to wait for a
number of the device is an error there.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import spectrum
from tools.benchmarks.common.denoisers import Model, Scale, build, call_arguments, denoiser_of

META = torch.device("meta")
TARGETS = ("features", "output")
Operations = dict[str, Any]


class _Counter(TorchDispatchMode):
    """Counts what torch is asked to do, views included."""

    count = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return operator(*args, **(kwargs or {}))


def count_operations(model: Model, scale: float, dtype: torch.dtype, rows: int) -> Operations:
    """Count the operations of a step's calls of the denoiser, and the bytes of the histories.

    Args:
        model: One of ``common.catalog``.
        scale: 1 for the real size.
        dtype: Of the denoiser.
        rows: K, evaluated steps before the one that is forecast.

    Returns:
        ``evaluated``, on an evaluated step of the plain pipeline; and of each target ``denoiser``, on a forecast step,
        ``sum``, for the weighted sums of K rows on that step, and ``history_bytes``, over all guidance branches.
    """
    size = model.size(Scale(scale))
    pipe = build(model, size, META, dtype)
    arguments = call_arguments(model, size, META, dtype)
    found: Operations = {"rows": rows, "dtype": str(dtype).removeprefix("torch.")}
    with _clock_on_the_host(type(pipe.scheduler)):
        found["evaluated"] = _steps(pipe, arguments, 1)[0][0]
        for target in TARGETS:
            with spectrum.attach(pipe, schedule=lambda _: range(rows), target=target) as handle:
                denoiser, sums = _steps(pipe, arguments, rows + 1)[-1]
                found[target] = {
                    "denoiser": denoiser,
                    "sum": sums,
                    "history_bytes": handle.statistics.history_bytes,
                }
    return found


def _steps(pipe: Any, arguments: dict[str, Any], steps: int) -> list[tuple[int, int]]:
    """Call the pipeline; return operations of the denoiser's calls and of the sums in them, step by step."""
    calls, sums = _Counter(), _Counter()
    counted: list[tuple[int, int]] = []

    def step_end(*_: Any) -> dict[str, Any]:
        counted.append((calls.count, sums.count))
        calls.count = sums.count = 0
        return {}

    def counting(counter: _Counter) -> Callable[..., Any]:
        def around(original: Any, *args: Any, **kwargs: Any) -> Any:
            with counter:
                return original(*args, **kwargs)

        return around

    # The class's, since calls that are answered in the denoiser's place reach nothing of the instance.
    with (
        _replaced(type(denoiser_of(pipe)), "__call__", counting(calls)),
        _replaced(spectrum.History, "forecast", counting(sums)),
    ):
        pipe(**arguments, num_inference_steps=steps, callback_on_step_end=step_end)
    return [(call - of_sum, of_sum) for call, of_sum in counted]


@contextmanager
def _clock_on_the_host(scheduler: type) -> Iterator[None]:
    """Keep the noise levels where they have numbers; the pipelines get timesteps without."""

    def around(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "device": "cpu"})
        self.timesteps = self.timesteps.to(META)
        self.set_begin_index(0)  # else it is looked up by the timestep's number

    with _replaced(scheduler, "set_timesteps", around):
        yield


@contextmanager
def _replaced(kind: type, name: str, around: Callable[..., Any]) -> Iterator[None]:
    original = getattr(kind, name)
    inherited = name not in vars(kind)

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(kind, name, replacement)
    try:
        yield
    finally:
        if inherited:
            delattr(kind, name)
        else:
            setattr(kind, name, original)
