"""Record what a calibration is made of: inner products of features and outputs, in plain runs of a pipeline.

    with Recorder(pipe) as recorder:
        for prompt in prompts:
            pipe(prompt, num_inference_steps=50)
    recorder.calibration({"model": ..., "prompts": ...}).to_json()

It listens where Spectrum forecasts, with the same clock, on the same heads and to the same calls, and changes
nothing.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from spectrum.calibration import Calibration
from spectrum.clock import Clock
from spectrum.denoisers import denoisers_of, spec_of, steps_by_denoiser
from spectrum.errors import SpectrumError
from spectrum.follower import check_module
from spectrum.interception import Interception
from spectrum.outputs import batches_of
from spectrum.stacks import heads_of
from spectrum.targets import is_attached, target_named

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline
    from numpy.typing import NDArray

# Elements of each row that are multiplied at a time, in float64.
_CHUNK = 2**16


class Recorder:
    """The Gram matrices of a pipeline's features or outputs, of every trajectory while it is open.

    There is a matrix for each head in each guidance branch, that is in each denoiser call of a step, and for each
    tensor that such a call returns. Where two denoisers share the steps (Wan2.2), each is recorded for its part, under
    the number of steps of that; two parts of as many steps count as branches of one. The samples of a batch are
    trajectories of their own, each of which counts alike: its matrix is scaled to a mean square of one.

    Args:
        pipe: A pipeline as `spectrum.attach` takes it for these targets, and plain: nothing is attached.
        max_elements: Elements of a sample's feature that are kept, evenly spread; those of all steps of a
            trajectory are held until its last one. Inner products of so many differ little from those of all.
        targets: What is recorded: "features", "output" or both, which one calibration then serves.

    Raises:
        SpectrumError: The pipeline is of a kind that Spectrum cannot work with, or Spectrum is attached to it.
    """

    def __init__(
        self, pipe: "DiffusionPipeline", max_elements: int = 2**20, targets: Sequence[str] = ("features",)
    ) -> None:
        self._max_elements = max_elements
        self._targets = targets
        self._pipe = pipe
        self._num_steps: dict[str, int] = {}  # of each denoiser in the trajectory under way; empty: none
        self._calls: dict[str, int] = {}  # of each denoiser in the step under way
        # (denoiser, target, call, place among its tensors) -> a tensor (B, F) a step
        self._kept: dict[tuple[str, str, int, int], list[torch.Tensor]] = {}
        self._trajectories: list[Calibration] = []
        self._branches: dict[tuple[str, int], int] = {}  # (target, steps) -> matrices of a trajectory
        self._parts: dict[int, list[int]] = {}  # steps of a trajectory -> of each denoiser's part
        self._denoisers = denoisers_of(pipe)
        for name, denoiser in self._denoisers.items():
            check_module(name, denoiser)
            if is_attached(denoiser):
                raise SpectrumError(
                    "Spectrum is attached to this pipeline, and a calibration takes plain runs: detach it"
                )
            for target in targets:
                target_named(target).follower.check(name, denoiser)
        heads = {
            name: heads_of(denoiser, spec_of(denoiser)) if "features" in targets else []
            for name, denoiser in self._denoisers.items()
        }
        self._clock = Clock(pipe.scheduler, self._start, self._after_step)
        self._interceptions = [
            Interception(denoiser, functools.partial(self._hear, name)) for name, denoiser in self._denoisers.items()
        ]
        self._hooks = [
            module.register_forward_pre_hook(functools.partial(self._before_head, name, head))
            for name, each in heads.items()
            for head, module in each
        ]

    def calibration(self, source: Mapping[str, Any]) -> Calibration:
        """Return what was recorded so far, for every number of steps.

        Args:
            source: Goes into the calibration, with the number of trajectories and the scheduler added.

        Raises:
            SpectrumError: No trajectory was completed.
        """
        if not self._trajectories:
            raise SpectrumError("nothing was recorded: call the pipeline while the recorder is open")
        scheduler = self._clock.scheduler
        config = {name: value for name, value in scheduler.config.items() if isinstance(value, (str, int, float))}
        counts = Counter(str(n) for one in self._trajectories for n in one.of(self._targets[0]))
        made_from = {"scheduler": type(scheduler).__name__, "scheduler_config": config, "trajectories": dict(counts)}
        if len(self._denoisers) > 1:
            made_from["parts"] = {str(n): parts for n, parts in self._parts.items()}
        return Calibration.mean(self._trajectories, {**source, **made_from})

    def trajectories(self) -> list[Calibration]:
        """Return what was recorded of each trajectory, in their order; the mean of all is `calibration`.

        Where a call has both branches of guidance one after the other in its batch, each is a trajectory of its own.
        """
        return [*self._trajectories]

    def close(self) -> None:
        """Leave the pipeline as it was found. Calling it again does nothing."""
        self._clock.stop()
        for interception in self._interceptions:
            interception.release()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._kept.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._kept.clear()  # of a trajectory that was interrupted
        self._num_steps = {}
        self._calls = {}

    def _hear(self, name: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._kept:
            self._num_steps = steps_by_denoiser(self._pipe, self._denoisers, self._clock.timesteps)
        self._calls[name] = self._calls.get(name, -1) + 1
        output = call(*args, **kwargs)
        if "output" in self._targets:
            for place, tensor in enumerate(batches_of(output)):
                self._keep(name, "output", place, tensor)
        return output

    def _before_head(self, name: str, head: int, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._keep(name, "features", head, args[0])

    def _keep(self, name: str, target: str, place: int, tensor: torch.Tensor) -> None:
        if self._num_steps.get(name):
            flat = tensor.detach().flatten(1)
            part = flat[:, :: self._stride(flat.shape[1])].clone()
            self._kept.setdefault((name, target, self._calls[name], place), []).append(part)

    def _stride(self, numel: int) -> int:
        # Without a common divisor it visits all channels alike.
        stride = math.ceil(numel / self._max_elements)
        while math.gcd(stride, numel) > 1:
            stride += 1
        return stride

    def _after_step(self) -> None:
        self._calls = {}
        taken = dict.fromkeys(self._num_steps, 0)
        for (name, *_), steps in self._kept.items():
            taken[name] = max(taken[name], len(steps))
        if self._kept and taken == self._num_steps:
            self._add()
            self._start()

    def _add(self) -> None:
        if any(len(steps) != self._num_steps[name] for (name, *_), steps in self._kept.items()):
            raise SpectrumError(
                "guidance called the denoiser on part of the steps only: calibrate with guidance on all of them"
            )
        parts = [count for count in self._num_steps.values() if count]
        grams = {target: {n: self._grams_of(target, n) for n in dict.fromkeys(parts)} for target in self._targets}
        for target, each in grams.items():
            for n, branches in each.items():
                if len(branches[0]) != self._branches.setdefault((target, n), len(branches[0])):
                    raise SpectrumError(
                        f"the denoiser was called {len(branches[0])} times a step, and {self._branches[target, n]} "
                        "times before: calibrate with the same guidance throughout"
                    )
        for place in range(len(next(iter(self._kept.values()))[0])):
            features, outputs = (
                {n: branches[place] for n, branches in grams.get(target, {}).items()}
                for target in ("features", "output")
            )
            self._trajectories.append(Calibration(features, {}, outputs))
        self._parts[len(self._clock.timesteps)] = parts

    def _grams_of(self, target: str, count: int) -> "NDArray[np.float64]":
        """Return the Gram matrices of a target in the parts of so many steps, (B, heads x branches, n, n)."""
        kept = [
            steps for (name, of, *_), steps in self._kept.items() if of == target and self._num_steps[name] == count
        ]
        if any(len({step.shape for step in steps}) > 1 for steps in kept):
            raise SpectrumError(
                f"the {target} changed shape within a trajectory: use this pipeline without a calibration"
            )
        return torch.stack([_grams(steps) for steps in kept], dim=1).numpy()


def _grams(features: list[torch.Tensor]) -> torch.Tensor:
    """Return the Gram matrices of n features (B, F), float64 (B, n, n) on the CPU, of mean one on the diagonal."""
    size = features[0].shape[1]
    parts = (
        torch.stack([feature[:, at : at + _CHUNK] for feature in features], dim=1) for at in range(0, size, _CHUNK)
    )
    total = sum((part.double() @ part.double().mT for part in parts), start=torch.zeros((), dtype=torch.float64))
    total = total.cpu()
    grams = (total + total.mT) / 2  # exactly symmetric, which not every product is: a file has one half only
    return grams / grams.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
