"""What is done where a device has too little memory for a batch: nothing, or to go on with less, step by step."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from jobs.base.checkpoint_json import text_encoders
from jobs.dataset.layout import Sample
from jobs.execute.overlap import Overlap
from jobs.model.load import set_tiling
from jobs.model.pipeline import BatchPipeline, Failure, Made

log = logging.getLogger(__name__)

FAIL, ADAPT = "fail", "adapt"  # what oom= may be
TILES = "tiles"
# What PyTorch says where no algorithm of cuDNN has room for its workspace, or none suits the GPU.
NO_ENGINE = "unable to find an engine"


class TooLittleMemory(Exception):
    """A batch does not fit, and nothing is left to try; the message says what to change."""


class Sparing:
    """Calls a pipeline, and with ``oom=adapt`` in smaller and smaller ways once its device has had too little memory.

    What was found stays so as long as the process: first fewer samples a call, by halves; then decoding in tiles; then
    text encoders that are in main memory while they are not needed. Each may change last bits of samples. Before all
    that, and with ``oom=fail`` too, calls overlap no more, and text encoders leave the GPU between their turns, which
    changes none.

    Args:
        pipeline: makes a batch a call.
        oom: ``FAIL`` or ``ADAPT``.
        device: torch device that computes.
        overlap: what calls it; None where calls do not overlap.
    """

    def __init__(self, pipeline: BatchPipeline, oom: str, device: str, overlap: Overlap | None = None):
        self._pipeline, self._adapts, self._device = pipeline, oom == ADAPT, device
        self._overlap = overlap or Overlap(pipeline)
        self._most: int | None = None  # samples a call; None: as many as there are
        self._further = self._ways() if self._adapts else iter(())
        self._taken: list[str] = []
        self._released = False

    def __call__(self, batch: list[Sample]) -> list[Made | Failure]:
        """Make a batch, in one call or in several.

        Raises:
            TooLittleMemory: it does not fit, whatever may be tried.
        """
        made: list[Made | Failure] = []
        while len(made) < len(batch):
            part = batch[len(made) :][: self._most]
            results = self._call(part)
            if results is not None:
                made += [self._marked(result) for result in results]
            elif self._overlap.end():
                log.warning("from now on each batch is decoded before the next one begins")
            elif self._release():
                log.warning("from now on text encoders are on the device only while they encode")
            else:
                self._step_down(part)  # and on with the rest: what was made is kept
                self._overlap.forget()
        return made

    def prepare(self, batches: Iterable[list[Sample]]) -> None:
        """Encode the texts of batches that are to be made ahead, where the encoders have left the GPU."""
        if self._released:
            self._pipeline.encode(batches)

    def all_steps(self) -> AbstractContextManager[None]:
        """Evaluate every step as long as this lasts."""
        return self._pipeline.all_steps()

    def _call(self, part: list[Sample]) -> list[Made | Failure] | None:
        """Return what was made; None for want of memory. By then the exception, which keeps tensors, is gone."""
        import torch

        try:
            return self._overlap(part)
        except RuntimeError as error:
            crowded = NO_ENGINE in str(error) and self._overlap.shared  # if not for want of memory, it comes again
            if not (crowded or isinstance(error, torch.OutOfMemoryError)):
                raise
            log.warning("too little memory for %d samples from %s: %s", len(part), part[0].key, str(error))
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        return None

    def _release(self) -> bool:
        embeddings = getattr(self._pipeline, "embeddings", None)
        released = bool(embeddings and self._pipeline.model.offload == "none" and embeddings.release(self._device))
        self._released |= released
        return released

    def _step_down(self, part: list[Sample]) -> None:
        options = part[0].options
        if self._adapts and len(part) > 1:
            self._most = len(part) // 2
            log.warning("from now on %d samples in a call", self._most)
        elif way := next(self._further, None):
            self._taken.append(way)
            log.warning("from now on with %s", way)
        else:
            less = "a larger GPU, model.offload, or a smaller size"
            if not self._adapts:
                less = "oom=adapt" if len(part) == 1 else "a lower batch_size or oom=adapt"
            raise TooLittleMemory(
                f"out of memory with {len(part)} {'samples' if len(part) > 1 else 'sample'} of {options.width}x"
                f"{options.height}{f' x {options.num_frames} frames' if options.num_frames > 1 else ''} in a call: "
                f"use {less} (and a new exp_name once samples were made)"
            )

    def _ways(self) -> Iterator[str]:
        """Take one more measure each time, and name it."""
        pipeline, model = self._pipeline.pipeline, self._pipeline.model
        if not model.vae_tiling and hasattr(getattr(pipeline, "vae", None), "enable_tiling"):
            set_tiling(pipeline, True)
            yield TILES
        if model.offload == "none" and not self._released:
            for name in text_encoders(pipeline.components):
                if pipeline.components[name] is not None:
                    _fetch_when_needed(pipeline.components[name], self._device)
            yield "text encoders in main memory"

    def _marked(self, result: Made | Failure) -> Made | Failure:
        taken = [*([f"{self._most} in a call"] if self._most else []), *self._taken]
        if isinstance(result, Failure) or not taken:
            return result
        how = {**result.how, **({"vae_tiling": True} if TILES in self._taken else {})}
        return replace(result, how=how, adapted=", ".join(taken))


def _fetch_when_needed(module: Any, device: str) -> None:
    """Keep a network in main memory, and bring over each layer for as long as it computes."""
    import torch
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        module, onload_device=torch.device(device), offload_device=torch.device("cpu"), offload_type="leaf_level"
    )
