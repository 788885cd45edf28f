"""The hooks on one denoiser that make it forecast while it follows a trajectory.

On a forecast step the denoiser runs its own forward with its block stacks empty, and a hook on each head
replaces what enters it. Hooks rather than a replaced `forward`, because accelerate's offloading replaces and
restores `forward` at every pipeline call.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spectrum.denoisers import DenoiserSpec
from spectrum.errors import SpectrumError
from spectrum.stacks import empty_stacks, heads_of
from spectrum.trajectory import Statistics, Trajectory


class DenoiserHooks:
    """Spectrum's part in one denoiser.

    Args:
        denoiser: A denoiser that is not compiled as a whole and that `check_cache` accepts.
        spec: Its row of the table.
        before_call: Called before each of its calls.
    """

    def __init__(self, denoiser: nn.Module, spec: DenoiserSpec, before_call: Callable[[], None]) -> None:
        self.denoiser: Any = denoiser
        self.spec = spec
        self._before_call = before_call
        self._trajectory: Trajectory | None = None  # the one under way
        self._latest: Trajectory | None = None  # the same, kept for its statistics
        self._forecasting = False  # the call under way is a forecast
        self._empty = empty_stacks(denoiser, spec)
        self._full: dict[str, nn.Module | None] = {}  # the stacks, while others are in their place
        self._hooks = [
            denoiser.register_forward_pre_hook(self._before_denoiser, with_kwargs=True),
            denoiser.register_forward_hook(self._after_denoiser, always_call=True),
            *(
                module.register_forward_pre_hook(functools.partial(self._before_head, head))
                for head, module in heads_of(denoiser, spec)
            ),
        ]

    def begin(self, trajectory: Trajectory) -> None:
        """Follow a trajectory from its first step."""
        self._trajectory = self._latest = trajectory

    def spare_step(self) -> bool:
        """Return whether what is made for the denoiser's blocks in the coming step has no use."""
        return self._trajectory is not None and self._trajectory.spare_step()

    def end_step(self) -> None:
        """Close the step."""
        if self._trajectory:
            self._trajectory.advance()
            if self._trajectory.done:
                self.end()  # now, so that the next denoiser or the VAE has the memory

    def end(self) -> None:
        """Leave the trajectory, done or not, and free its features."""
        if self._trajectory:
            self._trajectory.free()
            self._trajectory = None

    def forget(self) -> None:
        """Clear the statistics of the last trajectory."""
        self._latest = None

    @property
    def statistics(self) -> Statistics:
        """What the last (or current) trajectory did."""
        return self._latest.statistics if self._latest else Statistics()

    def remove(self) -> None:
        """Leave the denoiser as it was found."""
        self._after_forecast()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.end()

    def _before_denoiser(
        self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        # Done already, unless the last call ended in what always_call leaves out: KeyboardInterrupt, SystemExit.
        self._after_forecast()
        self._before_call()
        if self._trajectory is None or not self._trajectory.begin_call(_latents_shape(args, kwargs)):
            return None
        self._empty_stacks()
        return args, {name: value for name, value in kwargs.items() if name not in self.spec.stack_inputs}

    def _before_head(self, head: int, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._trajectory is None:
            return None
        if self._forecasting:
            self._fill_stacks()  # the blocks' turn is over: the sooner, the less an interruption leaves behind
            return self._trajectory.forecast(head), *args[1:]
        self._trajectory.record(args[0], head)
        return None

    def _after_denoiser(self, denoiser: nn.Module, args: tuple[Any, ...], output: object) -> None:
        self._after_forecast()

    def _empty_stacks(self) -> None:
        self._full = {name: getattr(self.denoiser, name) for name in self._empty}
        for name, empty in self._empty.items():
            setattr(self.denoiser, name, empty)
        self._forecasting = True

    def _fill_stacks(self) -> None:
        for name, full in self._full.items():
            setattr(self.denoiser, name, full)
        self._full = {}

    def _after_forecast(self) -> None:
        self._fill_stacks()
        self._forecasting = False


def check_cache(denoiser: Any) -> None:
    """Refuse a denoiser with a cache of diffusers, which would run or skip blocks by rules of its own.

    Raises:
        SpectrumError: One is enabled.
    """
    if getattr(denoiser, "is_cache_enabled", False):
        raise SpectrumError(
            f"a diffusers cache is enabled on the {type(denoiser).__name__}: call its disable_cache() first"
        )


def is_hooked(denoiser: nn.Module) -> bool:
    """Return whether Spectrum is attached to the denoiser."""
    # No public way to ask a module for its hooks. A mark of our own on the denoiser would be copied with it.
    hooks = denoiser._forward_pre_hooks.values()
    return any(isinstance(getattr(hook, "__self__", None), DenoiserHooks) for hook in hooks)


def _latents_shape(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """Return the shape of the first tensor, or of each in the first list (Z-Image takes one tensor a sample)."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            return tuple(value.shape)
        if isinstance(value, list):
            return [_latents_shape((item,), {}) for item in value]
    return None
