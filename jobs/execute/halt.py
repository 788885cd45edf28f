"""When a task has to stop: because it was told to, or because its time ends.

A signal only sets a flag. The worker looks at it between batches, finishes the one in hand, and leaves a journal that
the next attempt goes on from; so a signal never lands inside a pipeline call, where it would look like a prompt's
failure. What cannot be finished until the deadline is cut off.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from jobs.base.times import GRACE, LAST

TIME = "its time limit is near"
CUT_OFF = "it was in the middle of a batch when its time ended"
LOOK = 0.5  # seconds between looks at whether to stop
# In the environment of a task, since not every Slurm says its end: its time limit, and when its script began.
MINUTES, BEGAN = "JOBS_TIMEOUT_MIN", "JOBS_BEGAN"
SPARE = 1.1  # a batch may take so much longer than the last one

# Slurm sends SIGCONT before a SIGTERM at preemption. SIGUSR2 comes ahead of the time limit, or from whoever likes.
_WATCHED = (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2)


class Halt:
    """Whether a process is to stop.

    Attributes:
        end: when its time is over, in seconds since the epoch; None if it has all the time.
        why: why it is to stop; "" while it is not.
        deadline: when it must have stopped, finished or not; None if nobody presses.
    """

    def __init__(self, end: float | None = None, look: Callable[["Halt"], None] | None = None):
        """Begin without a reason to stop.

        Args:
            end: see above.
            look: called before each answer; may ``ask``.
        """
        self.end, self.why = end, ""
        self._begun = time.time()
        self.deadline = None if end is None else end - LAST
        self._look = look

    def ask(self, why: str, grace: float | None = None) -> None:
        """Have it stop.

        Args:
            why: the reason; the first one stays.
            grace: seconds until it will be killed; None where nobody threatens with that.
        """
        self.why = self.why or why
        if grace is not None:
            self.deadline = min(self.deadline or float("inf"), time.time() + grace)

    def before(self, seconds: float) -> str:
        """Return why not to begin something of so many seconds; "" to go on."""
        if self._look:
            self._look(self)
        if not self.why and self.end is not None and time.time() + SPARE * seconds + 2 * LAST > self.end:
            self.why = TIME
        return self.why

    @property
    def nearly_over(self) -> bool:
        """Whether most of its time has passed: another turn would not come further than this one."""
        return self.end is not None and self.end - time.time() < 0.25 * (self.end - self._begun)

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.time() > self.deadline


@contextlib.contextmanager
def heeded_signals(halt: Halt, *, leads: bool = True) -> Iterator[None]:
    """Have signals ask for a stop, instead of whatever they did before.

    Args:
        halt: is asked.
        leads: whether this process decides; a rank that follows another one lets them pass.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = {number: signal.signal(number, _pass) for number in _WATCHED}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if leads:  # a thread, since the main one may be inside a long call
        threading.Thread(target=_listen, args=(reading, halt), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)


def _pass(number: int, frame: Any) -> None:
    """Do nothing: that the signal came is read from the wake-up pipe."""


def _listen(reading: int, halt: Halt) -> None:
    while number := os.read(reading, 1):
        if number[0] == signal.SIGTERM:
            halt.ask("SIGTERM: the cluster wants the node, or somebody ends the job", GRACE)
        elif number[0] == signal.SIGUSR2:
            halt.ask("SIGUSR2: its time limit is near, or it is to make room")
    os.close(reading)


def task_end() -> float | None:
    """Return when this task's time is over, in seconds since the epoch; None if nobody says."""
    value = os.environ
    if end := value.get("SLURM_JOB_END_TIME"):
        return float(end)
    if minutes := value.get(MINUTES):
        return float(value.get(BEGAN) or _started()) + 60 * float(minutes)
    if seconds := value.get("SUBMITIT_LOCAL_TIMEOUT_S"):
        return _started() + float(seconds)
    return None


def _started() -> float:
    return float(psutil.Process().create_time())
