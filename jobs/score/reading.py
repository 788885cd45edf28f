"""The samples of a finished shard: rows of its sidecar, and their images or clips out of its tar."""

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from jobs.base.disk import disk_trouble
from jobs.base.errors import BadInput, first_line
from jobs.execute.batch import Blameless
from jobs.export.index import names_of
from jobs.media.video import read_clip
from jobs.store.rundir import RunDir
from jobs.store.sidecar import FAILED, whole

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
    with whole(run.name_of(path), "restore it, or delete the shard's done record and tar"), open(path, "rb") as file:
        rows = pq.ParquetFile(file).read(use_threads=False).to_pylist()
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

    The tar of a run in a store is brought into the run's ``work`` first, into a file without a name: it is gone with
    this process, whatever ends that.

    Args:
        run: the run.
        shard: a finished one.
    """

    def __init__(self, run: RunDir, shard: int):
        self._run, self._shard = run, shard
        self._name = run.name_of(run.tar(shard))
        self._files = contextlib.ExitStack()

    def close(self) -> None:
        """Close the tar."""
        self._files.close()

    def read(self, picture: Picture) -> np.ndarray:
        """Return an image, uint8 (height, width, 3), or a clip, (frames, height, width, 3).

        Raises:
            Blameless: the tar is not to be had.
            BadInput: the sample's bytes are not those that were published.
        """
        tar, members = self._opened
        extension, member = members.get(picture.key, ("", None))
        file = member and tar.extractfile(member)
        data = file.read() if file else b""
        if hashlib.sha256(data).hexdigest() != picture.row["sha256"]:
            raise BadInput(f"{self._name} has other bytes of {picture.key} than were published: restore it")
        if extension == "mp4":
            return read_clip(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def names(self, picture: Picture) -> set[str]:
        """Return what the table of an export has of a sample without any scores."""
        tar, _ = self._opened
        file = tar.extractfile(f"{picture.key}.json")
        return names_of(file.read()) if file else set()

    @cached_property
    def _opened(self) -> tuple[tarfile.TarFile, dict[str, tuple[str, tarfile.TarInfo]]]:
        """The tar, and key -> kind and member of its images or clips; fetched when the first one is asked for."""
        try:
            tar = self._files.enter_context(tarfile.open(fileobj=self._file()))  # noqa: SIM115
            named = [(member.name.partition("."), member) for member in tar.getmembers()]
        except BadInput as error:
            raise Blameless(str(error)) from None
        except (FileNotFoundError, tarfile.TarError):
            raise Blameless(f"{self._name} is missing or torn: restore it, or delete the shard's done record") from None
        except OSError as error:
            raise Blameless(disk_trouble(error, self._run.work) or first_line(error)) from None
        return tar, {key: (end, member) for (key, _, end), member in named if end not in _TEXT}

    def _file(self) -> IO[bytes]:
        if not self._run.url:
            return self._files.enter_context(open(self._run.tar(self._shard), "rb"))
        file = self._files.enter_context(TemporaryFile(dir=self._run.work))  # noqa: SIM115
        self._run.fetch_tar(self._shard, file)
        file.seek(0)
        return file
