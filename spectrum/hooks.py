"""The target `features`: hooks that make one denoiser forecast what enters its head.

On a forecast step the denoiser runs its own forward with its block stacks empty, and a hook on each head
replaces what enters it. Hooks rather than a replaced `forward`, because accelerate's offloading replaces and
restores `forward` at every pipeline call.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from spectrum.denoisers import spec_of
from spectrum.follower import Follower, latents_shape
from spectrum.stacks import check_not_compiled, empty_stacks, heads_of


class FeatureHooks(Follower):
    """Spectrum's part in a denoiser of the table that is not compiled as a whole."""

    def __init__(self, denoiser: nn.Module, before_call: Callable[[], None]) -> None:
        super().__init__(denoiser, before_call)
        self._spec = spec_of(denoiser)
        self._forecasting = False  # the call under way is a forecast
        self._empty = empty_stacks(denoiser, self._spec)
        self._full: dict[str, nn.Module | None] = {}  # the stacks, while others are in their place
        self._hooks = [
            denoiser.register_forward_pre_hook(self._before_denoiser, with_kwargs=True),
            denoiser.register_forward_hook(self._after_denoiser, always_call=True),
            *(
                module.register_forward_pre_hook(functools.partial(self._before_head, head))
                for head, module in heads_of(denoiser, self._spec)
            ),
        ]

    @classmethod
    def check(cls, name: str, denoiser: nn.Module) -> None:
        """See `Follower`."""
        check_not_compiled(name, denoiser)
        spec_of(denoiser)

    def check_still(self) -> None:
        """See `Follower`."""
        check_not_compiled("denoiser", self.denoiser)

    @property
    def storage_dtype(self) -> torch.dtype | None:
        """See `Follower`."""
        dtype: torch.dtype | None = self.denoiser.dtype if self._spec.head_upcasts else None
        return dtype

    def remove(self) -> None:
        """See `Follower`."""
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
        if self._trajectory is None or not self._trajectory.begin_call(latents_shape(args, kwargs)):
            return None
        self._empty_stacks()
        return args, {name: value for name, value in kwargs.items() if name not in self._spec.stack_inputs}

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


def is_hooked(denoiser: nn.Module) -> bool:
    """Return whether Spectrum is attached to the denoiser."""
    # No public way to ask a module for its hooks. A mark of our own on the denoiser would be copied with it.
    hooks = denoiser._forward_pre_hooks.values()
    return any(isinstance(getattr(hook, "__self__", None), FeatureHooks) for hook in hooks)
