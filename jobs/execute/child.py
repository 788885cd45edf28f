"""What the processes of the local pool do: the first of each worker is fed with shards, the others follow it."""

import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from tqdm import tqdm

from jobs.base.disk import disk_trouble
from jobs.base.errors import BadInput, first_line
from jobs.execute.halt import Halt
from jobs.execute.logs import redirect_output
from jobs.execute.work import AnyWork
from jobs.execute.worker import follow_leader, generate_shards
from jobs.parallel.ranks import Member
from jobs.run.run import Run

log = logging.getLogger(__name__)


def lead(run: AnyWork, device: str, log_path: str, pipe: Connection, end: float | None, member: Member | None) -> None:
    """Ask for shards and make them until there are no more, or the parent says to stop.

    Args:
        run: whose shards they are.
        device: torch device.
        log_path: of this process.
        pipe: to the parent: (event, shard, detail) goes out; a shard, None for the end, or text to stop comes in.
        end: see ``Halt``.
        member: this process's place, where it leads a group.
    """
    sending = threading.Lock()  # the generator's thread and the writer's share the pipe

    def report(event: str, shard: int | None, detail: str) -> None:
        with sending:
            pipe.send((event, shard, detail))

    def look(halt: Halt) -> None:
        while pipe.poll():
            halt.ask(pipe.recv())

    halt = Halt(end, look)

    def shards() -> Iterator[int]:
        while not halt.why:
            report("next", None, "")
            answer = pipe.recv()
            if isinstance(answer, str):
                halt.ask(answer)
            if not isinstance(answer, int):
                return
            yield answer

    try:
        _begin(log_path)
        said: dict[str, Any] = {"device": device, "log_path": log_path, "report": report, "halt": halt}
        if isinstance(run, Run):
            lost = partial(report, "error", None)
            waited = generate_shards(run, shards(), **said, member=member, on_loss=lost)
        else:
            waited = run.make(shards(), **said)
        log.info("the generating thread waited for encoding or writing %.2f %% of the time", 100 * waited)
        if halt.why:
            report("halted", None, halt.why)
    except Exception as error:
        log.exception("this worker cannot go on")
        own = str(error) if isinstance(error, BadInput) else first_line(error)
        report("error", None, disk_trouble(error, run.directory.path) or own)
        sys.exit(1)


def follow(run: Run, device: str, log_path: str, member: Member) -> None:
    """Be one of the other ranks of a worker."""
    _begin(log_path)
    follow_leader(run, device=device, member=member)


def _begin(log_path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    redirect_output(log_path)
    faulthandler.enable()
    tqdm.set_lock(threading.RLock())  # of the pipeline's bars; as in the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker is of no use to a command that was killed, and would keep its GPU until a sample is written."""
    parent = multiprocessing.parent_process()
    assert parent
    wait([parent.sentinel])
    os._exit(1)
