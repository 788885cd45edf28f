"""The target `output`: forecast what a denoiser returns, without calling it.

Nothing is asked of the denoiser but that it returns tensors that stay of one kind along a trajectory, so none of its
parts need to be known: it may be of any class, compiled as a whole, quantised or offloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from spectrum.errors import SpectrumError
from spectrum.follower import Follower, latents_shape
from spectrum.interception import Interception, is_intercepted


@dataclass(frozen=True)
class _Kind:
    """What a denoiser's output is but for the numbers in it.

    Attributes:
        structure: Tuple, list or output class around the leaves.
        leaves: None for a tensor that is forecast; anything else (keys that a first step returns) is kept.
    """

    structure: pytree.TreeSpec
    leaves: list[Any]


class OutputCalls(Follower):
    """Spectrum's part in any denoiser: it answers calls in its place.

    The tensors that a call returns have a history each, in their own dtype.
    """

    def __init__(self, denoiser: nn.Module, before_call: Callable[[], None]) -> None:
        super().__init__(denoiser, before_call)
        self._kinds: dict[int, _Kind] = {}  # of each branch's last output
        self._late: list[tuple[torch.Tensor, int, int]] = []  # outputs of this step that are not filled in yet
        self._interception = Interception(denoiser, self._answer)

    @classmethod
    def check(cls, name: str, denoiser: nn.Module) -> None:
        """See `Follower`."""

    def check_still(self) -> None:
        """See `Follower`."""
        if not self._interception.in_place:
            raise SpectrumError(
                f"the {type(self.denoiser).__name__} was compiled after attach: detach and attach again"
            )

    def end_step(self) -> None:
        """See `Follower`."""
        if self._trajectory:
            for tensor, place, branch in self._late:
                self._trajectory.record(tensor, place, branch)
        self._late.clear()
        super().end_step()

    def end(self) -> None:
        """See `Follower`."""
        self._kinds.clear()
        self._late.clear()
        super().end()

    def remove(self) -> None:
        """See `Follower`."""
        self._interception.release()
        self.end()

    def _answer(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._before_call()
        if self._trajectory is None:
            return call(*args, **kwargs)
        if self._trajectory.begin_call(latents_shape(args, kwargs)):
            return self._forecast()
        output = call(*args, **kwargs)
        self._record(output)
        return output

    def _record(self, output: Any) -> None:
        assert self._trajectory
        leaves, structure = pytree.tree_flatten(output)
        tensors = {place: leaf for place, leaf in enumerate(leaves) if _is_forecast(leaf)}
        if not tensors:
            raise SpectrumError(
                f"the {type(self.denoiser).__name__} returned a {type(output).__name__} without a tensor that could be "
                "forecast: use it without Spectrum"
            )
        branch = self._trajectory.branch
        self._kinds[branch] = _Kind(structure, [None if place in tensors else at for place, at in enumerate(leaves)])
        for place, tensor in tensors.items():
            if tensor.ndim == 3:
                # A denoiser that keeps its prompt's keys returns that part of the sequence in its first call alone.
                self._trajectory.cut_to(tensor.shape[1], place)
            if hasattr(tensor, _LATE):
                self._late.append((tensor, place, branch))
            else:
                self._trajectory.record(tensor, place)

    def _forecast(self) -> Any:
        assert self._trajectory
        kind = self._kinds[self._trajectory.branch]
        leaves = [self._trajectory.forecast(place) if at is None else at for place, at in enumerate(kind.leaves)]
        return pytree.tree_unflatten(leaves, kind.structure)


class SparedCalls:
    """Spectrum's part in a ControlNet: it is not called on steps whose calls of the denoiser are all forecast.

    What a pipeline gets instead is of the shapes and dtypes of the last real output: zeros that take no memory.

    Args:
        controlnet: Any ControlNet, or several in one module.
        is_unused: Asked before each of its calls: whether nothing will use what the call returns.
    """

    def __init__(self, controlnet: nn.Module, is_unused: Callable[[], bool]) -> None:
        self._is_unused = is_unused
        self._blank: tuple[list[Any], pytree.TreeSpec] | None = None
        self._interception = Interception(controlnet, self._answer)

    def remove(self) -> None:
        """Leave the ControlNet as it was found."""
        self._interception.release()

    def _answer(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._blank and self._is_unused():
            return pytree.tree_unflatten(*self._blank)
        output = call(*args, **kwargs)
        leaves, structure = pytree.tree_flatten(output)
        self._blank = [_blank(leaf) for leaf in leaves], structure
        return output


def spared_calls(pipe: Any, is_unused: Callable[[], bool]) -> list[SparedCalls]:
    """Spare the ControlNets of a pipeline, whatever their class; not those that another pipeline's handle has."""
    controlnet = getattr(pipe, "controlnet", None)
    if controlnet is None or is_intercepted(controlnet):
        return []
    return [SparedCalls(controlnet, is_unused)]


def batches_of(output: Any) -> list[torch.Tensor]:
    """Return the tensors of a denoiser's output, each (B, ...); a list in it has a tensor for each sample."""
    leaves = pytree.tree_leaves(output, is_leaf=lambda part: isinstance(part, list))
    tensors = [torch.stack(leaf) if isinstance(leaf, list) else leaf for leaf in leaves]
    return [tensor for tensor in tensors if _is_forecast(tensor)]


_LATE = "spectrum_late"


def fill_in_later(output: torch.Tensor) -> None:
    """Mark a tensor that a denoiser returns before its numbers are known; they must be when the step ends.

    It is for ranks that compute a guidance branch each and exchange them afterwards.
    """
    setattr(output, _LATE, True)


def _is_forecast(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()


def _blank(leaf: Any) -> Any:
    return leaf.new_zeros(()).expand(leaf.shape) if isinstance(leaf, torch.Tensor) else leaf
