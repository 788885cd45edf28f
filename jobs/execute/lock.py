"""One submission at a time: a lock in each run's directory, held from the look at the queue to sbatch's answer."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from jobs.base.errors import BadInput
from jobs.base.times import LOCKED

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class Held(Exception):
    """Another command has a lock."""


@contextlib.contextmanager
def submitting(runs: Iterable[Path], say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the locks of runs; waits while another command has one. The system drops them when a process dies.

    Args:
        runs: their directories, which exist.
        say: called with a sentence when it has to wait, and where the file system knows no locks; without it, it does
            not wait.

    Raises:
        Held: another command has one, and this one is not to wait.
        BadInput: the other command does not come to an end.
        FileNotFoundError: a run's directory is gone.
    """
    with contextlib.ExitStack() as held:
        for run in sorted({run.resolve() for run in runs}):  # in one order: two sweeps do not wait for each other
            file = held.enter_context(open(run / "logs" / "submit.lock", "a+"))
            _take(file, run, say)
            with contextlib.suppress(OSError):  # a full disk: it is held all the same
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), f"{os.uname().nodename} {os.getpid()}".encode())
        yield


def _take(file: IO[str], run: Path, say: Callable[[str], None] | None) -> None:
    deadline, told = time.monotonic() + LOCKED, False
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if say:
                say(f"{run} lies on a file system without locks: do not start two commands for it at the same time")
            return
        if not say:
            raise Held
        if time.monotonic() > deadline:
            file.seek(0)
            host, _, pid = file.read().partition(" ")
            raise BadInput(
                f"another command has been submitting tasks of {run} for {LOCKED:.0f} seconds: "
                f"end it{f' (process {pid} on {host})' if pid else ''}, and start this one again"
            )
        if not told:
            told = True
            say(f"another command is just submitting tasks of {run}: waiting for it")
        time.sleep(0.2)
