"""What goes wrong with files while an export is made, in sentences: what is read, and what is written."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.base.disk import disk_trouble
from jobs.base.errors import BadInput


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of errors that they are of reading a file of a run; its absence is the caller's to explain.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(_unreadable(path, error)) from None


@contextlib.contextmanager
def explained(runs: Sequence[Path], dest: Path) -> Iterator[None]:
    """Say in a sentence what the disks have against an export.

    Args:
        runs: what is only read.
        dest: where the export is to be.

    Raises:
        BadInput: a file cannot be read or written, for a reason that a user can mend.
    """
    try:
        yield
    except OSError as error:
        path = Path(error.filename) if isinstance(error.filename, str) else None
        if path and any(path.is_relative_to(run) for run in runs):
            raise BadInput(_unreadable(path, error)) from None
        trouble = disk_trouble(error, path if path and path.is_dir() else dest.parent)
        if not trouble:
            raise
        raise BadInput(f"the export to {dest} stopped: {trouble}") from None


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror}): mend that, and run the same command again"
