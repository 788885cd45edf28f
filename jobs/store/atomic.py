"""The dangerous primitives, in one place: a file is either there and whole, or not there."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def fsync_dir(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync(path: Path) -> None:
    """Make what was written to a file durable."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def replace(source: Path, target: Path) -> None:
    """Move an already fsynced file into place, durably; folders may differ, the file system may not."""
    os.replace(source, target)
    fsync_dir(target.parent)


def write_bytes(target: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write ``data`` so that a reader sees the old file or the whole new one, also after a power cut.

    Args:
        target: the file.
        data: its contents.
        mode: who may do what with it, less what the umask takes away.
    """
    with _temporary(target, [data], mode) as temporary:
        replace(temporary, target)


def write_parts(target: Path, parts: Iterable[bytes]) -> None:
    """As ``write_bytes``, of contents that come one part after another."""
    with _temporary(target, parts) as temporary:
        replace(temporary, target)


def write_json(target: Path, value: Any) -> None:
    """``write_bytes`` of ``value`` as indented JSON; NaN and infinity are refused (they are not JSON)."""
    write_bytes(target, json_bytes(value))


def create_bytes(target: Path, data: bytes) -> None:
    """As ``write_bytes``, but of several that try at once the first wins and the others change nothing."""
    with _temporary(target, [data]) as temporary:
        try:
            os.link(temporary, target)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(temporary, target)
        fsync_dir(target.parent)


def json_bytes(value: Any) -> bytes:
    """Return ``value`` as indented JSON; NaN and infinity are refused (they are not JSON)."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


@contextlib.contextmanager
def _temporary(target: Path, parts: Iterable[bytes], mode: int = 0o666) -> Iterator[Path]:
    """A durable file beside ``target`` that holds these parts; removed at the end if it is still there."""
    temporary = target.with_name(f".{target.name}.{os.uname().nodename}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def byte_lock(path: Path, byte: int, *, wait: bool = True) -> Iterator[bool]:
    """Hold one byte of a lock file exclusively; the kernel drops it when the process dies.

    One file serves any number of independent locks. A file system without locks (some parallel ones)
    goes without: every user of the lock stays correct then, as long as both sides write the same bytes.

    Args:
        path: the lock file.
        byte: which of its bytes.
        wait: whether to wait for another process that holds it.

    Yields:
        Whether to go ahead; False where another process holds it and ``wait`` is False.
    """
    with open(path, "ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
            held, free = True, True
        except (BlockingIOError, PermissionError):  # as POSIX lets systems say that it is held
            held, free = False, wait
        except OSError:
            held, free = False, True
        try:
            yield free
        finally:
            if held:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
