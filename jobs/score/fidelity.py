"""How near samples are to those of another run with the same keys, such as one that ran every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.base.errors import BadInput
from jobs.media.fidelity import psnr, ssim
from jobs.score.reading import Media, Picture, pictures_of
from jobs.store.rundir import RunDir

if TYPE_CHECKING:
    from jobs.score.scorers import Measure


@dataclass(frozen=True)
class Fidelity:
    """PSNR (dB) and SSIM to the sample of the same key in another run; null where that has none of this size.

    See ``jobs.score.scorers.Scorer``.

    Attributes:
        other: the other run.
        run_id: of it.
    """

    other: RunDir
    run_id: str
    name: str = "fidelity"
    gpus: int = 0
    sample_seconds: float = 0.3
    by_batch: bool = False

    @classmethod
    def find(cls, other: RunDir | None) -> "Fidelity":
        """Return it, if there is another run.

        Raises:
            BadInput: none is named.
        """
        if other is None:
            raise BadInput("fidelity compares with another run: name it, like against=outputs/all-steps")
        return cls(other, other.read()["id"])

    @property
    def identity(self) -> dict[str, Any]:
        """See ``Scorer``."""
        return {"scorer": self.name, "version": 1, "against": self.run_id}

    @property
    def inputs(self) -> list[Path]:
        """See ``Scorer``."""
        return [self.other.path, *self.other.mounted]

    def check(self) -> None:
        """See ``Scorer``."""
        if self.other.read()["id"] != self.run_id:
            raise BadInput(f"against={self.other.name} is another run by now: run the same command again")

    def load(self, device: str) -> "Measure":
        """See ``Scorer``."""
        places: dict[str, tuple[int, Picture]] = {}
        for shard in sorted(self.other.done_shards()):
            places |= {one.key: (shard, one) for one in pictures_of(self.other, shard)}
        media_of = lru_cache(maxsize=4)(lambda shard: Media(self.other, shard))

        def measure(media: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
            found: dict[str, list[float | None]] = {"psnr": [], "ssim": []}
            for one, row in zip(media, rows, strict=True):
                shard, other = places.get(row["key"], (0, None))
                reference = media_of(shard).read(other) if other else None
                alike = reference is not None and reference.shape == one.shape
                found["psnr"].append(psnr(one, reference) if alike and reference is not None else None)
                found["ssim"].append(ssim(one, reference) if alike and reference is not None else None)
            return {**found}

        return measure
