"""Ends what a test session leaves, however the session ends: ``guardian.py OWNER TOKEN FOLDER ...``.

The session (process ``OWNER``) starts this program beside itself, in a session of its own that no signal to pytest's
process group reaches. It waits until its parent writes to its stdin or is gone, and ends every other process that
carries the token in its environment. When the parent is gone, it removes the session's folders. It needs nothing but
the standard library, so that it is ready within milliseconds.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

MARKER = "JOBS_TEST_SESSION"  # tokens of a session and of those around it, outermost first: OUTER:INNER
LOOK = 0.2  # seconds between two looks at the parent or at the processes
GRACE = 5.0  # seconds from SIGTERM to SIGKILL: a resource tracker uses them to release shared memory
PATIENCE = 30.0  # seconds to wait for killed processes (one may hang in the kernel) and for their files

Identity = tuple[int, str]  # pid and start time: a pid alone may be used again


def main(owner: int, token: str, folders: list[Path]) -> None:
    """Wait for the end of ``owner``, this process's parent, and clean up after it."""
    # A fork of the owner that outlives it keeps the pipe open: its end is not enough to tell.
    while os.getppid() == owner and not select.select([sys.stdin], [], [], LOOK)[0]:
        pass
    end_processes(owner, token, folders)
    deadline = time.monotonic() + PATIENCE
    while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(LOOK)


def end_processes(owner: int, token: str, folders: list[Path]) -> None:
    """End the session's processes with SIGTERM and, if deaf to it, with SIGKILL, until the owner is gone as well."""
    found: set[Identity] = set()
    told: set[Identity] = set()
    began = last_seen = time.monotonic()
    while time.monotonic() < last_seen + PATIENCE:
        if os.getppid() == owner:
            last_seen = time.monotonic()
        # Children are remembered before their parents end: an orphan cannot be traced any more.
        found = {process for process in found if start_time(process[0]) == process[1]}
        found |= {process for process in belonging(token, folders) if process[0] != owner}
        if not found and os.getppid() != owner:
            return
        late = time.monotonic() > began + GRACE
        for process in found if late else found - told:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process[0], signal.SIGKILL if late else signal.SIGTERM)
        told |= found
        time.sleep(LOOK)


def belonging(token: str, folders: list[Path]) -> set[Identity]:
    """Return the processes that carry the token, those at home in a folder, and the children of both."""
    parents: dict[Identity, int] = {}
    ours: set[Identity] = set()
    for entry in Path("/proc").iterdir():
        fields = stat(int(entry.name)) if entry.name.isdigit() else []
        if not fields or fields[0] in "ZX" or int(entry.name) == os.getpid():
            continue
        process = (int(entry.name), fields[19])
        parents[process] = int(fields[1])
        with contextlib.suppress(OSError):  # it ended in the meantime, or belongs to another user
            if carries(entry, token) or at_home(entry, fields, folders):
                ours.add(process)
    grown = True
    while grown:
        pids = {pid for pid, _ in ours}
        children = {process for process, parent in parents.items() if parent in pids} - ours
        ours |= children
        grown = bool(children)
    return ours


def carries(entry: Path, token: str) -> bool:
    """Tell whether a process was started with the token in its environment."""
    for item in (entry / "environ").read_bytes().split(b"\0"):
        name, _, value = item.partition(b"=")
        if name == MARKER.encode():
            return token.encode() in value.split(b":")
    return False


def at_home(entry: Path, fields: list[str], folders: list[Path]) -> bool:
    """Tell whether a process without a terminal works in one of the folders.

    slurmstepd overwrites its environment with its title; it works where slurmd was started. A shell that somebody
    opened there to look around has a terminal.
    """
    return fields[4] == "0" and any(Path(os.readlink(entry / "cwd")).is_relative_to(folder) for folder in folders)


def start_time(pid: int) -> str:
    """Return when a process began, in clock ticks since the machine did; empty when it is gone."""
    fields = stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third (state) on: the second, a name, may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], [Path(folder) for folder in sys.argv[3:]])
