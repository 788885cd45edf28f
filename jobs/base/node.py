"""What the processes of one machine share: a directory of this user's own, and locks in it."""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def node_folder() -> Path | None:
    """Return a directory on this machine that only this user can write to; None where there can be none."""
    folder = Path(tempfile.gettempdir()) / f"spectrum-jobs-{os.getuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # Somebody else may have been there first, the name being known.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return folder
    return None


@contextlib.contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Wait until no other process of this user on this machine is in here; the kernel lets go of one that died."""
    folder = node_folder()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # without a lock all go at once, which is slower and not wrong
            if folder:
                file = stack.enter_context(open(folder / f"{name}.lock", "ab"))
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
