"""Processes known by pid and start time, so that a pid used again is never mistaken for ours."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process of this boot.

    Attributes:
        pid: Its process id.
        started: The boot's id and the process's start time in clock ticks after it.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Identify the process that has this pid now; one that is gone has an empty start time."""
        return cls(pid, _started(pid))

    def alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # a child of ours would stay a zombie otherwise
        return bool(self.started) and _started(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send a signal if this very process still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def end(processes: Iterable[Process], grace: float = 10.0) -> None:
    """End processes with SIGTERM, and after ``grace`` seconds with SIGKILL."""
    meant = list(processes)
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for process in meant:
            process.signal(number)
        if wait_for(lambda: not any(process.alive() for process in meant), seconds):
            return


def wait_for(condition: Callable[[], bool], seconds: float, interval: float = 0.05) -> bool:
    """Poll until the condition holds; return whether it did within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


@dataclass(frozen=True)
class Seen:
    """What /proc tells of a process: its program's name, directory and first environment."""

    name: str
    directory: str
    environment: dict[str, str]


def matching(wanted: Callable[[Seen], bool]) -> list[Process]:
    """Find processes of this user, other than this one and its ancestors, by what they look like."""
    spared = set(_ancestors(os.getpid()))
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in spared:
            continue
        try:
            if entry.stat().st_uid != os.getuid():
                continue
            process = Process.of(int(entry.name))
            items = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            environment = {name: value for name, _, value in (item.partition("=") for item in items)}
            seen = Seen((entry / "comm").read_text().strip(), os.readlink(entry / "cwd"), environment)
        except OSError:
            continue  # ended in the meantime, or not ours to read
        if wanted(seen):
            found.append(process)
    return found


def _ancestors(pid: int) -> list[int]:
    chain = []
    while pid > 0:
        chain.append(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return chain


def _started(pid: int) -> str:
    fields = _stat(pid)
    if not fields or fields[0] in "ZX":
        return ""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{fields[19]}"


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on: the second, a name, may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
