"""The samples of a run's own calibration as files that its processes share.

A file is a line of json with what was recorded, empty where nothing was, then the pixels as npy.
"""

import io
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.execute.halt import Halt
from jobs.run.run import Run
from jobs.store.parts import share

log = logging.getLogger(__name__)


class Enough(Exception):
    """Somebody else finished the calibration, or this process is to stop."""


class Parts:
    """The files, which come up in step with every other process that makes them.

    Args:
        run: the run.
        folder: where they lie.
        report: as in ``jobs.execute.calibration.calibrated``.
        halt: is asked before each.
        seconds: returns what the last one took.
    """

    def __init__(self, run: Run, folder: Path, report: Callable[..., None], halt: Halt, seconds: Callable[[], float]):
        self.folder = folder
        self._run, self._report, self._halt, self._seconds = run, report, halt, seconds

    def make(self, makers: Mapping[str, Callable[[], bytes]], said: str) -> None:
        """Make those that are not there, or wait until they are.

        Args:
            makers: name -> what makes it.
            said: what they are, for the log.

        Raises:
            Enough: they are of no more use.
        """

        def heard(count: int) -> None:
            words = f"{count} of {len(makers)} samples {said}"
            log.info("calibrating: %s", words)
            self._report("calibrating", None, words)

        def made(make: Callable[[], bytes]) -> bytes:
            part = make()
            self._report("calibrated", None, "")
            return part

        own = {name: partial(made, make) for name, make in makers.items()}
        if not share(self.folder, own, enough=self._is_over, heard=heard):
            raise Enough

    def read(self, name: str, read: Callable[[Path], Any] = Path.read_bytes) -> Any:
        """Read one.

        Raises:
            Enough: it was taken away, because the calibration is finished.
        """
        try:
            return read(self.folder / name)
        except FileNotFoundError:
            if self._run.directory.calibration.exists():
                raise Enough from None
            raise

    def _is_over(self) -> bool:
        return bool(self._halt.before(self._seconds())) or self._run.directory.calibration.exists()


def pack(line: str, pixels: "NDArray[np.uint8] | None" = None) -> bytes:
    """Return the contents of a file; without pixels where the sample failed, without a line where none is needed."""
    file = io.BytesIO()
    file.write(line.rstrip("\n").encode() + b"\n")
    if pixels is not None:
        np.save(file, pixels)
    return file.getvalue()


def line_of(path: Path) -> str:
    """Return what was recorded."""
    with open(path, "rb") as file:
        return file.readline().decode()


def pixels_of(path: Path) -> "NDArray[np.uint8] | None":
    """Return the pixels; None of a sample that failed."""
    data = path.read_bytes().partition(b"\n")[2]
    return np.load(io.BytesIO(data)) if data else None
