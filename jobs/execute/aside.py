"""Calls a function where the libraries are: in a fork of the process that workers are forked from."""

import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeVar

from jobs.base.errors import BadInput
from jobs.execute.local import worker_context
from jobs.run.run import Run

Found = TypeVar("Found")


def call_aside(devices: list[str], function: Callable[[Run], Found], run: Run) -> Found:
    """Return what a function returns of a run, called by a process that has imported what the run's workers need.

    Where workers are not forked, or the fork comes to nothing, it is called here, and imports what it needs.

    Args:
        devices: of all its workers.
        function: of a module; what it prints goes to this process's streams.
        run: what it is called with.

    Raises:
        BadInput: the function's.
    """
    context = worker_context(run, devices)
    if context.get_start_method() != "forkserver":
        return function(run)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, function, run), daemon=True)
    process.start()
    theirs.close()
    found: Found
    try:
        found, refusal = ours.recv()
    except EOFError:  # it was killed, or failed, and a failure here has a traceback of its own
        return function(run)
    finally:
        process.kill()
        process.join()
    if refusal:
        raise refusal
    return found


def _answer(pipe: Connection, function: Callable[[Run], Found], run: Run) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    answer: tuple[Found | None, BadInput | None]
    try:
        answer = function(run), None
    except BadInput as error:
        answer = None, error
    with suppress(OSError):  # the parent was killed
        pipe.send(answer)
