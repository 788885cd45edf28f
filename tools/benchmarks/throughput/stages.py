"""Clocks in the stages of a worker: how long text encoders, denoiser, decoder and writer were at work."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from jobs.dataset.layout import Sample
from jobs.media.image import MediaFormat
from jobs.model.embeddings import Embeddings
from jobs.model.pipeline import BatchPipeline, Failure, Made
from tools.benchmarks.runner.overlap import picture

STAGES = ("text", "denoise", "decode", "encode")


@dataclasses.dataclass
class Clocked(BatchPipeline):
    """A loaded pipeline that adds up the seconds of its stages."""

    spent: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @classmethod
    def of(cls, loaded: BatchPipeline) -> "Clocked":
        """Return the same pipeline with clocks in it."""
        clocked = cls(**vars(loaded))
        clocked.restart()
        return clocked

    def restart(self) -> None:
        """Begin at 0, with no text encoded."""
        self.spent.update(dict.fromkeys(STAGES, 0.0))
        vars(self.pipeline).pop("encode_prompt", None)
        self.embeddings = Embeddings.of(self.pipeline)
        self.pipeline.encode_prompt = self._timed("text", self.pipeline.encode_prompt)

    def __call__(self, batch: list[Sample], denoised: Callable[[], None] | None = None) -> list[Made | Failure]:
        """Make a batch, as ever."""
        start, text = time.perf_counter(), self.spent["text"]

        def at_decoding() -> None:
            nonlocal start
            self.spent["denoise"] += time.perf_counter() - start - (self.spent["text"] - text)
            if denoised:
                denoised()  # waits until nobody else decodes
            start = time.perf_counter()

        made = super().__call__(batch, at_decoding)
        self.spent["decode"] += time.perf_counter() - start
        return made

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[stage] += time.perf_counter() - start

        return timed


class ClockedFormat:
    """A media format that adds up the seconds of its encoding, over all threads.

    Args:
        media: the format.
        spent: where they are added, as "encode".
        side: pixels of the square that pictures are enlarged to first, with a photograph's grain; None: as they are.
    """

    def __init__(self, media: MediaFormat, spent: dict[str, float], side: int | None = None):
        self._media, self._spent, self._side = media, spent, side
        self._lock = threading.Lock()
        self._grain: Any = picture(0, side).astype(np.int16) // 16 if side else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._media, name)

    def encode(self, media: np.ndarray, parameters: str = "") -> bytes:
        """Encode, enlarged where that was asked for."""
        if self._side:
            large = Image.fromarray(media).resize((self._side, self._side), Image.Resampling.BICUBIC)
            media = np.clip(np.asarray(large, np.int16) + self._grain, 0, 255).astype(np.uint8)
        start = time.perf_counter()
        data = self._media.encode(media, parameters)
        with self._lock:
            self._spent["encode"] += time.perf_counter() - start
        return data


@contextmanager
def untouched(pipeline: Any) -> Iterator[Any]:
    """Give out the pipeline of diffusers without what listens to it; Spectrum stays as it is."""
    taken = [(owner, name, vars(owner).pop(name)) for owner, name in _listened(pipeline)]
    try:
        yield pipeline
    finally:
        for owner, name, function in taken:
            setattr(owner, name, function)


def _listened(pipeline: Any) -> list[tuple[Any, str]]:
    places = [(pipeline, "encode_prompt"), (pipeline.vae, "decode")]
    return [(owner, name) for owner, name in places if name in vars(owner)]
