"""The samples of a finished shard: rows of its sidecar, and their images or clips out of its tar."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs.base.errors import BadInput
from jobs.media.video import read_clip
from jobs.store.rundir import RunDir
from jobs.store.sidecar import FAILED

_TEXT = ("txt", "json")
_BATCH_BYTES = 256 << 20  # of the pixels that a scorer gets at a time; a single clip may have more


@dataclass(frozen=True)
class Picture:
    """A sample that is scored.

    Attributes:
        index: of the sample in its run.
        key: of it.
        row: of its sidecar.
    """

    index: int
    key: str
    row: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height and width."""
        return self.row["num_frames"], self.row["height"], self.row["width"]


def pictures_of(run: RunDir, shard: int) -> list[Picture]:
    """Return a shard's samples that have files, in the order of its tar.

    Raises:
        BadInput: the sidecar cannot be read.
    """
    path = run.sidecar(shard)
    try:
        with open(path, "rb") as file:
            rows = pq.ParquetFile(file).read(use_threads=False).to_pylist()
    except (FileNotFoundError, pa.ArrowException):
        raise BadInput(f"{path} is missing or torn: restore it, or delete the shard's done record and tar") from None
    return [Picture(row["sample_index"], row["key"], row) for row in rows if row["status"] != FAILED]


def batches(pictures: list[Picture], size: int) -> Iterator[list[Picture]]:
    """Yield a shard's samples in batches of one shape: they depend on the shard alone, not on what is left of it."""
    for shape, group in groupby(pictures, key=lambda one: one.shape):
        alike = list(group)
        most = max(1, min(size, _BATCH_BYTES // (3 * shape[0] * shape[1] * shape[2])))
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


class Media:
    """The images and clips of a shard, read from its tar as they are asked for.

    Args:
        run: the run.
        shard: a finished one.
    """

    def __init__(self, run: RunDir, shard: int):
        self._path = run.tar(shard)
        try:
            self._tar = tarfile.open(self._path)  # noqa: SIM115 (closed by the caller)
            members = self._tar.getmembers()
        except (FileNotFoundError, tarfile.TarError):
            raise BadInput(f"{self._path} is missing or torn: restore it, or delete the shard's done record") from None
        named = ((one.name.partition("."), one) for one in members)
        self._members = {key: (end, member) for (key, _, end), member in named if end not in _TEXT}

    def close(self) -> None:
        """Close the tar."""
        self._tar.close()

    def read(self, picture: Picture) -> np.ndarray:
        """Return an image, uint8 (height, width, 3), or a clip, (frames, height, width, 3).

        Raises:
            BadInput: its bytes are not those that were published.
        """
        extension, member = self._members.get(picture.key, ("", None))
        file = member and self._tar.extractfile(member)
        data = file.read() if file else b""
        if hashlib.sha256(data).hexdigest() != picture.row["sha256"]:
            raise BadInput(f"{self._path} has other bytes of {picture.key} than were published: restore it")
        if extension == "mp4":
            return read_clip(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
