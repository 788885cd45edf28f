"""Computes the two branches of guidance on different ranks: each makes one of a step's two denoiser calls."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from spectrum.outputs import fill_in_later


class Branches:
    """Lets the ranks of part 0 make the first call of each step, those of part 1 the second, and exchanges the results.

    The pipeline makes both calls on every rank. The call that is another part's returns at once: the first a tensor
    that is filled in when the second call is made, the second what the other part computed. So the pipeline must not
    look at the first result before it has the second (``limits.TWO_CALLS``). What a denoiser's hooks see, Spectrum's
    on features too, is the one call that it really makes. Where Spectrum forecasts outputs, it answers both calls of a
    forecast step before they come here, from outputs that it keeps when the step ends.

    Args:
        pipeline: one of those.
        denoisers: its denoisers, which take turns over the steps.
        mesh: ``denoiser.make_mesh``.
    """

    def __init__(self, pipeline: Any, denoisers: list[nn.Module], mesh: Any):
        self._pipeline = pipeline
        self._group = mesh["cfg"].get_group()
        self._mine = mesh["cfg"].get_local_rank()
        self._first: torch.Tensor | None = None
        for denoiser in denoisers:
            self._split(denoiser)

    def restart(self) -> None:
        """Forget a trajectory that ended between a step's two calls."""
        self._first = None

    def _split(self, denoiser: Any) -> None:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._pipeline.do_classifier_free_guidance:  # one branch: every part computes it
                return type(denoiser)._call_impl(denoiser, *args, **kwargs)
            number = 0 if self._first is None else 1
            if number == self._mine:
                result = type(denoiser)._call_impl(denoiser, *args, **kwargs)[0]
            else:
                result = _unknown(denoiser, kwargs["hidden_states"])
            if number == 0:
                self._first = result
                if number != self._mine:
                    fill_in_later(result)
            else:
                self._exchange(result)
            return (result,)

        # Private to PyTorch, and the one place that all of a module's hooks lie behind: what the other part computes
        # must not reach them, or Spectrum would count it as a call.
        denoiser._call_impl = call

    def _exchange(self, second: torch.Tensor) -> None:
        first, self._first = self._first, None
        assert first is not None
        mine = (first, second)[self._mine].contiguous()
        both = [torch.empty_like(mine) for _ in range(2)]
        dist.all_gather(both, mine, group=self._group)
        (second if self._mine == 0 else first).copy_(both[1 - self._mine])


def _unknown(denoiser: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """A tensor like the denoiser's output, with anything in it."""
    batch, _, *size = hidden_states.shape
    return hidden_states.new_empty(batch, denoiser.config.out_channels, *size)
