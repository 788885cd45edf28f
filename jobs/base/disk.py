"""What a failing disk means, in words: one sentence for each way in which an output directory lets its run down."""

import errno
import os
from pathlib import Path

_WORDS = {
    errno.EDQUOT: "your quota on the file system of {} is used up",
    errno.EROFS: "the file system of {} can only be read",
    errno.EACCES: "{} may not be written to",
    errno.EPERM: "{} may not be written to",
    errno.EFBIG: "a file would be larger than the file system of {} takes, or than a limit (ulimit -f) allows",
    errno.EIO: "the file system of {} fails (input/output error)",
    errno.ESTALE: "the file system of {} has gone away",
    errno.ENOTCONN: "the file system of {} has gone away",
    errno.EMFILE: "this process may not open more files, for {}",
}


def cache_folder(name: str) -> Path:
    """Return where this user keeps what may be made again: ``$XDG_CACHE_HOME/spectrum-jobs/NAME``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spectrum-jobs" / name


def disk_trouble(error: BaseException, folder: Path) -> str:
    """Return what is wrong with a run's directory, and what to do; "" where the error is about something else.

    Args:
        error: what was met while writing there.
        folder: the directory.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    if error.errno == errno.ENOSPC:
        what = "{} has no inodes left: it holds as many files as it can" if _no_inodes(folder) else "{} is full"
        words = f"the file system of {what}"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE) and not folder.is_dir():
        words = "{} was removed"
    else:
        words = _WORDS.get(error.errno, "")
    return f"{words.format(folder)}; once that is mended, the same command goes on where this stopped" if words else ""


def _no_inodes(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_files > 0 and found.f_favail == 0


def human_bytes(size: float) -> str:
    """Return ``1.5 GB`` for 1.5e9 bytes; three digits at most, so that little is not shown as none."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
