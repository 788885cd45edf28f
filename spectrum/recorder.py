"""Records what a calibration is made of: inner products of features, in plain runs of a pipeline.

    with Recorder(pipe) as recorder:
        for prompt in prompts:
            pipe(prompt, num_inference_steps=50)
    recorder.calibration({"model": ..., "prompts": ...}).to_json()

It listens where Spectrum forecasts, with the same clock and on the same heads, and changes nothing.
"""

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from spectrum.calibration import Calibration
from spectrum.clock import Clock
from spectrum.denoisers import heads_of, spec_of
from spectrum.errors import SpectrumError
from spectrum.handle import denoisers_of
from spectrum.hooks import is_hooked

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline

# Elements of each row that are multiplied at a time, in float64.
_CHUNK = 2**16


class Recorder:
    """Sums up the Gram matrices of a pipeline's features, over all trajectories while it is open.

    A branch is one head in one of the denoiser calls of a step. The samples of a batch are trajectories of
    their own, each of which counts alike: its matrix is scaled to a mean square of one.

    Args:
        pipe: A pipeline as `spectrum.attach` takes it, with one denoiser, and plain: nothing is attached.
        max_elements: Elements of a sample's feature that are kept, evenly spread; the features of all steps of
            a trajectory are held until its last one. Inner products of so many differ little from those of
            all.

    Raises:
        SpectrumError: The pipeline is of a kind that Spectrum cannot work with, has two denoisers, or
            Spectrum is attached to it.
    """

    def __init__(self, pipe: "DiffusionPipeline", max_elements: int = 2**20) -> None:
        self._max_elements = max_elements
        self._num_steps = 0  # of the trajectory under way; 0: none
        self._call = -1
        self._rows: dict[tuple[int, int], list[torch.Tensor]] = {}  # (call, head) -> a tensor (B, F) a step
        self._sums: dict[int, list[torch.Tensor]] = {}  # steps -> a sum (n, n) a branch
        self._counts: dict[int, int] = {}
        denoisers = list(denoisers_of(pipe).values())
        if len(denoisers) > 1:
            raise SpectrumError(
                f"{type(pipe).__name__} has two denoisers that share the steps: it can be used without a calibration."
            )
        if is_hooked(denoisers[0]):
            raise SpectrumError("Spectrum is attached to this pipeline, and a calibration takes plain runs: detach it.")
        heads = heads_of(denoisers[0], spec_of(denoisers[0]))
        self._clock = Clock(pipe.scheduler, self._start, self._after_step)
        self._hooks = [
            denoisers[0].register_forward_pre_hook(self._before_denoiser),
            *(module.register_forward_pre_hook(functools.partial(self._before_head, head)) for head, module in heads),
        ]

    def calibration(self, source: Mapping[str, Any]) -> Calibration:
        """What was recorded so far, for every number of steps.

        Args:
            source: Goes into the calibration, with the number of trajectories and the scheduler added.

        Raises:
            SpectrumError: No trajectory was completed.
        """
        if not self._sums:
            raise SpectrumError("Nothing was recorded: call the pipeline while the recorder is open.")
        scheduler = self._clock.scheduler
        config = {name: value for name, value in scheduler.config.items() if isinstance(value, (str, int, float))}
        made_from = {
            "scheduler": type(scheduler).__name__,
            "scheduler_config": config,
            "trajectories": {str(n): count for n, count in self._counts.items()},
        }
        return Calibration({n: self._mean(n) for n in self._sums}, {**source, **made_from})

    def close(self) -> None:
        """Leaves the pipeline as it was found. Calling it again does nothing."""
        self._clock.stop()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._rows.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _mean(self, num_steps: int) -> "np.ndarray":
        return (torch.stack(self._sums[num_steps]) / self._counts[num_steps]).numpy()

    def _start(self) -> None:
        self._rows.clear()  # of a trajectory that was interrupted
        self._num_steps = 0
        self._call = -1

    def _before_denoiser(self, denoiser: nn.Module, args: tuple) -> None:
        if not self._rows:
            self._num_steps = len(self._clock.timesteps)
        self._call += 1

    def _before_head(self, head: int, module: nn.Module, args: tuple) -> None:
        if self._num_steps:
            rows = args[0].detach().flatten(1)
            self._rows.setdefault((self._call, head), []).append(rows[:, :: self._stride(rows.shape[1])].clone())

    def _stride(self, numel: int) -> int:
        # Without a common divisor it visits all channels alike.
        stride = math.ceil(numel / self._max_elements)
        while math.gcd(stride, numel) > 1:
            stride += 1
        return stride

    def _after_step(self) -> None:
        self._call = -1
        taken = max(map(len, self._rows.values()), default=0)
        if self._num_steps and taken == self._num_steps:
            self._add()
            self._start()

    def _add(self) -> None:
        if any(len(rows) != self._num_steps for rows in self._rows.values()):
            raise SpectrumError(
                "Guidance called the denoiser on part of the steps only; calibrate with guidance on all of them."
            )
        grams = [_grams(rows) for rows in self._rows.values()]
        sums = self._sums.setdefault(self._num_steps, [torch.zeros_like(gram[0]) for gram in grams])
        if len(sums) != len(grams):
            raise SpectrumError(
                f"The denoiser was called {len(grams)} times a step, and {len(sums)} times before; calibrate with the "
                "same guidance throughout."
            )
        for total, gram in zip(sums, grams, strict=True):
            total += gram.sum(dim=0)
        self._counts[self._num_steps] = self._counts.get(self._num_steps, 0) + len(grams[0])


def _grams(rows: list[torch.Tensor]) -> torch.Tensor:
    """n tensors (B, F) -> (B, n, n), float64 on the CPU, each scaled to a mean of one on the diagonal."""
    size = rows[0].shape[1]
    parts = (torch.stack([row[:, at : at + _CHUNK] for row in rows], dim=1) for at in range(0, size, _CHUNK))
    total = sum((part.double() @ part.double().mT for part in parts), start=torch.zeros((), dtype=torch.float64))
    grams = total.cpu()
    return grams / grams.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
