"""A denoiser that follows trajectories, whatever is forecast in it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spectrum.errors import SpectrumError
from spectrum.step_plan import StepPlan
from spectrum.trajectory import Statistics, Trajectory


class Follower(ABC):
    """Spectrum's part in one denoiser; one class for each target.

    Args:
        denoiser: A denoiser that `check` accepts.
        before_call: Called before each of its calls.
    """

    def __init__(self, denoiser: nn.Module, before_call: Callable[[], None]) -> None:
        self.denoiser: Any = denoiser
        self._before_call = before_call
        self._trajectory: Trajectory | None = None  # the one under way
        self._latest: Trajectory | None = None  # the same, kept for its statistics

    @classmethod
    @abstractmethod
    def check(cls, name: str, denoiser: nn.Module) -> None:
        """Refuse a denoiser that this target cannot be forecast in; `name` is the one it has in its pipeline.

        Raises:
            SpectrumError: It cannot.
        """

    @abstractmethod
    def check_still(self) -> None:
        """Refuse what was done to the denoiser since.

        Raises:
            SpectrumError: Calls would not be heard.
        """

    @property
    def storage_dtype(self) -> torch.dtype | None:
        """Dtype of the histories; None for that of what is forecast."""
        return None

    def begin(self, trajectory: Trajectory) -> None:
        """Follow a trajectory from its first step."""
        self._trajectory = self._latest = trajectory

    def spare_step(self) -> bool:
        """Return whether what is made for the denoiser in the coming step has no use."""
        return self._trajectory is not None and self._trajectory.spare_step()

    def end_step(self) -> None:
        """Close the step."""
        if self._trajectory:
            self._trajectory.advance()
            if self._trajectory.done:
                self.end()  # now, so that the next denoiser or the VAE has the memory

    def end(self) -> None:
        """Leave the trajectory, done or not, and free its histories."""
        if self._trajectory:
            self._trajectory.free()
            self._trajectory = None

    def forget(self) -> None:
        """Clear the statistics of the last trajectory."""
        self._latest = None

    @property
    def plan(self) -> StepPlan | None:
        """The plan of the last (or current) trajectory; None where it had no part in that."""
        return self._latest.plan if self._latest else None

    @property
    def statistics(self) -> Statistics:
        """What the last (or current) trajectory did."""
        return self._latest.statistics if self._latest else Statistics()

    @abstractmethod
    def remove(self) -> None:
        """Leave the denoiser as it was found."""


def check_module(name: str, denoiser: object) -> None:
    """Refuse a denoiser whose calls cannot be heard; `name` is the one it has in its pipeline.

    Raises:
        SpectrumError: It is no module of PyTorch, but an engine of another kind.
    """
    if not isinstance(denoiser, nn.Module):
        raise SpectrumError(f"the pipeline's {name} is no PyTorch module, and Spectrum cannot hear its calls")


def check_cache(denoiser: Any) -> None:
    """Refuse a denoiser with a cache of diffusers, which would run or skip blocks by rules of its own.

    Raises:
        SpectrumError: One is enabled.
    """
    if getattr(denoiser, "is_cache_enabled", False):
        raise SpectrumError(
            f"a diffusers cache is enabled on the {type(denoiser).__name__}: call its disable_cache() first"
        )


def latents_shape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """Return the shape of the first tensor, or of each in the first list (Z-Image takes one tensor a sample)."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            return tuple(value.shape)
        if isinstance(value, list):
            return [latents_shape((item,), {}) for item in value]
    return None
