"""Work that several processes share part by part: each takes what nobody is at, and all end with every part.

    FOLDER/parts.lock   one byte a part, held by the process that makes it: the kernel drops it when that one dies
    FOLDER/NAME         a finished part

A part is a function of what it is made of, so that it does not matter who makes it, nor whether two do.
"""

import fcntl
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from jobs.base.times import LOOK
from jobs.store.atomic import byte_lock, create_bytes

Make = Callable[[], bytes]


def share(
    folder: Path, makers: Mapping[str, Make], *, enough: Callable[[], bool], heard: Callable[[int], None]
) -> bool:
    """Make the parts that are not there, together with whoever else does, and wait for those of others.

    Args:
        folder: where the parts lie; made if need be.
        makers: name of each part -> what makes it; the same names in the same order in every process.
        enough: asked before each part whether the parts are of no more use; they may be taken away then.
        heard: told how many parts are there, whenever that changed.

    Returns:
        Whether all are there; False where it was enough.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = -1
    try:
        while True:
            missing = makers.keys() - set(os.listdir(folder))
            if len(makers) - len(missing) != known:
                known = len(makers) - len(missing)
                heard(known)
            if not missing:
                return True
            if enough():
                return False
            if not any(_make(folder, name, byte, make) for byte, (name, make) in enumerate(makers.items())):
                time.sleep(LOOK)  # others are at all of them
    except FileNotFoundError:
        if not enough():
            raise
        return False


def busy(folder: Path) -> bool:
    """Return whether another process is at a part."""
    try:
        with open(folder / "parts.lock", "ab") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # nobody was ever at one, or the file system has no locks
        return False
    return False


def _make(folder: Path, name: str, byte: int, make: Make) -> bool:
    """Make one part if it is missing and nobody is at it; return whether it was made."""
    if (folder / name).exists():
        return False
    with byte_lock(folder / "parts.lock", byte, wait=False) as free:
        if not free or (folder / name).exists():
            return False
        create_bytes(folder / name, make())
        return True
