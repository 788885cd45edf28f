"""One worker of this machine: its processes, how they are started, and how they end."""

import contextlib
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jobs.base.times import ENDS
from jobs.execute.child import follow, lead
from jobs.execute.work import AnyWork
from jobs.parallel.ranks import Member
from jobs.run.run import Run

PRELOADED = ["jobs.execute.preload"]
# A cluster sends its signals to every process of a job; the parent is the one that heeds them.
_OURS = (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2)
# Of these a process dies by itself; SIGKILL may come from anybody.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


@dataclass(eq=False)
class Worker:
    """The parent's view of one.

    Attributes:
        process: the one that is fed.
        pipe: to it.
        devices: of its ranks.
        log_path: of its first process.
        followers: the processes of its other ranks, and their logs.
        meeting: where these find each other.
        doomed: when it must have ended, having lost a rank.
        lost: the rank that it lost, in words.
        killed: whether that rank was killed by a signal, which is no word of its own.
        crashed: whether it died by itself.
        shard: the one that it is at; None before the first and between two.
        begun: those that it was given.
        published: how many of them are done.
        explained: whether it said why it ends.
        open: whether it is at work.
    """

    process: Any
    pipe: Connection
    devices: list[str]
    log_path: str
    followers: list[tuple[Any, str]]
    meeting: Path
    doomed: float | None = None
    lost: str = ""
    killed: bool = False
    crashed: bool = False
    shard: int | None = None
    begun: set[int] = field(default_factory=set)
    published: int = 0
    explained: bool = False
    open: bool = True

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return " + ".join(self.devices)

    def end(self) -> None:
        """See to it that none of its processes is left."""
        processes = [self.process, *(process for process, _ in self.followers)]
        if self.open:
            for process in processes:
                process.kill()
        for process in processes:  # the followers leave by themselves when the first one has left
            process.join(ENDS)
            process.kill()
            process.join(ENDS)  # no longer: one that waits for a broken disk or GPU cannot even be killed
        self.meeting.unlink(missing_ok=True)


def start_worker(run: AnyWork, devices: list[str], stem: str, log_path: str, end: float | None) -> Worker:
    """Start the processes of a worker.

    Args:
        run: whose shards it works.
        devices: one a rank.
        stem: begins the names of the files that are its own.
        log_path: where its first process logs.
        end: when its time is over, in seconds since the epoch.
    """
    context = worker_context(run, devices)
    ours, theirs = context.Pipe()
    logs = [log_path, *(str(run.directory.logs / f"{stem}-rank{rank}.log") for rank in range(1, len(devices)))]
    meeting = run.directory.work / f"group-{stem}-{time.time_ns():x}.json"
    members = [Member(rank, len(devices), rank, meeting) for rank in range(len(devices))]
    leader = members[0] if len(devices) > 1 else None
    process = context.Process(target=lead, args=(run, devices[0], log_path, theirs, end, leader), daemon=True)
    followers = [
        context.Process(target=follow, args=(run, *one), daemon=True, name=f"rank {one[-1].rank}")
        for one in zip(devices[1:], logs[1:], members[1:], strict=True)
    ]
    with _blocked_signals():
        for each in (process, *followers):
            each.start()
    theirs.close()
    return Worker(process, ours, devices, log_path, list(zip(followers, logs[1:], strict=True)), meeting)


def prepare_workers(run: AnyWork, devices: list[str]) -> None:
    """Begin to import what workers need, beside what a command has still to do before it starts them.

    Args:
        run: whose shards they will work.
        devices: of them all.
    """
    if worker_context(run, devices).get_start_method() == "forkserver":
        with _blocked_signals():
            forkserver.ensure_running()


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Have processes that are started meanwhile never see the signals that the parent heeds."""
    resource_tracker.ensure_running()  # not later: it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def worker_context(run: AnyWork, devices: list[str]) -> Any:
    """Return how workers are started.

    On GPUs from nothing, because CUDA does not survive a fork; on a CPU as forks of one process that has imported what
    takes seconds, but for those that compile their model, which is not what it was imported for. That process listens
    on a socket below the temporary directory, whose path must not be long.
    """
    compiles = isinstance(run, Run) and run.options.model.compile != "none"
    if compiles or any(device.startswith("cuda") for device in devices) or len(tempfile.gettempdir()) > 60:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED if isinstance(run, Run) else run.preloaded)
    return context


def ended(code: int) -> str:
    """Return how a process ended, by its exit code, to follow its name."""
    if code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def is_crash(code: int, oom_kills: int) -> bool:
    """Return whether a process died by itself.

    Args:
        code: its exit code.
        oom_kills: processes that this machine has killed for want of memory meanwhile.
    """
    return code > 0 or -code in _CRASHES or (-code == signal.SIGKILL and oom_kills > 0)


def oom_kills() -> int:
    """Return how many processes this machine has killed for want of memory since it was started."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
