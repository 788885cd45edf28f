"""Watches the calls of a loaded pipeline, and holds each decoding until the next call denoises."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from jobs.dataset.layout import Sample
from jobs.model.pipeline import BatchPipeline
from spectrum.denoisers import denoisers_of

PATIENCE = 60  # seconds until what was waited for will not come


class Held:
    """Usable as a context, around the calls.

    Args:
        pipeline: with a handover.
        last: the number of the last call, from 0, whose decoding has nothing to wait for.
        when_held: called in place of the decodings' end, if given, with the number of the call.

    Attributes:
        events: ("denoise" or "decode" or "decoded", number of the call), in order.
    """

    def __init__(self, pipeline: BatchPipeline, last: int, when_held: Callable[[int], None] = lambda number: None):
        assert pipeline.handover
        self._handover: Any = pipeline.handover
        self._denoisers = list(denoisers_of(pipeline.pipeline).values())
        self._begun = [threading.Event() for _ in range(last + 1)]
        self._count = 0
        self._thread = threading.local()
        self._when_held = when_held
        self.events: list[tuple[str, int]] = []

    def __enter__(self) -> "Held":
        self._decode = self._handover._decode
        self._handover._decode = self._held
        self._hooks = [one.register_forward_pre_hook(self._before_denoiser) for one in self._denoisers]
        return self

    def __exit__(self, *_: object) -> None:
        self._handover._decode = self._decode
        for hook in self._hooks:
            hook.remove()

    def overlapped(self) -> bool:
        """Whether each call denoised while the one before was decoded, and decoded when that was over."""
        at = self.events.index
        pairs = range(len(self._begun) - 1)
        return all(at(("denoise", k + 1)) < at(("decoded", k)) < at(("decode", k + 1)) for k in pairs)

    def _before_denoiser(self, *_: object) -> None:
        if getattr(self._thread, "number", None) is None:  # the first of this call
            self._thread.number, self._count = self._count, self._count + 1
            self.events.append(("denoise", self._thread.number))
            self._begun[self._thread.number].set()

    def _held(self, *args: Any, **kwargs: Any) -> Any:
        number, self._thread.number = self._thread.number, None
        self.events.append(("decode", number))
        if number + 1 < len(self._begun):
            assert self._begun[number + 1].wait(PATIENCE), f"nothing denoised while call {number} was decoded"
        self._when_held(number)
        made = self._decode(*args, **kwargs)
        self.events.append(("decoded", number))
        return made


def plain_pixels(pipeline: BatchPipeline, batch: list[Sample]) -> np.ndarray:
    """What a call of diffusers makes of a batch, nothing listening to it, converted as numpy does."""
    plain = pipeline.pipeline
    places = [(plain, "encode_prompt"), (plain.vae, "decode")]
    listening = [(owner, name, vars(owner).pop(name)) for owner, name in places]
    try:
        result = plain(
            prompt=[sample.prompt for sample in batch],
            generator=[torch.Generator().manual_seed(sample.seed) for sample in batch],
            **pipeline.arguments(batch),
        )
    finally:
        for owner, name, function in listening:
            setattr(owner, name, function)
    output = result.images if pipeline.model.fps is None else result.frames
    return (output * 255).round().astype(np.uint8)
