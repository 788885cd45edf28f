"""The clock of a pipeline: its scheduler, whose calls tell where a trajectory begins and where a step ends."""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch

from spectrum.errors import SpectrumError
from spectrum.schedulers import check_scheduler, check_step

_METHODS = ("set_timesteps", "step")


class Clock:
    """A listener to one scheduler: `set_timesteps` starts a trajectory, each `step` ends a denoising step.

    The two methods are patched on the instance, and keep their signatures: pipelines look at them.

    Args:
        scheduler: The scheduler of a pipeline.
        on_start: Called after each `set_timesteps`.
        on_step: Called after each `step`.

    Raises:
        SpectrumError: The scheduler is of a kind that forecasts cannot follow, or is patched already. It was
            left alone then.
    """

    def __init__(self, scheduler: Any, on_start: Callable[[], None], on_step: Callable[[], None]) -> None:
        check_scheduler(scheduler)
        if any(name in vars(scheduler) for name in _METHODS):
            raise SpectrumError(
                "the scheduler's set_timesteps or step is already replaced on the instance, by Spectrum on "
                "another pipeline or by something else: give this pipeline its own scheduler"
            )
        self.scheduler = scheduler
        for name, tick in zip(_METHODS, (on_start, on_step), strict=True):
            self._patch(name, tick)

    def stop(self) -> None:
        """Take the patches off again."""
        for name in _METHODS:
            # What someone else put over ours stays; without a trajectory our part in it has no effect.
            if getattr(vars(self.scheduler).get(name), "spectrum_clock", None) is self:
                delattr(self.scheduler, name)

    @property
    def timesteps(self) -> torch.Tensor:
        """The timesteps of the steps to come, (n,), on the scheduler's device; asked for before the first one."""
        # img2img pipelines say after set_timesteps where on the schedule they begin.
        timesteps: torch.Tensor = self.scheduler.timesteps
        return timesteps[getattr(self.scheduler, "begin_index", None) or 0 :]

    def _patch(self, name: str, tick: Callable[[], None]) -> None:
        original = getattr(type(self.scheduler), name)

        @functools.wraps(original)
        def ticking(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            listening = scheduler is self.scheduler
            if listening and name == "step":
                check_step(scheduler, kwargs)
            result = original(scheduler, *args, **kwargs)
            if listening:
                tick()
            return result

        ticking.spectrum_clock = self  # type: ignore[attr-defined]
        # A bound method, not a closure over the scheduler, so that a deepcopy of the scheduler steps itself.
        setattr(self.scheduler, name, types.MethodType(ticking, self.scheduler))
