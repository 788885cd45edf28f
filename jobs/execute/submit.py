"""Submits the tasks of a launch: as many as there are places for, the others as places get free."""

import contextlib
import time
from collections.abc import Callable, Collection
from typing import Any

from jobs.base.errors import BadInput
from jobs.base.times import QUEUE
from jobs.execute import queue
from jobs.execute.array import Array, at_work, cut, script, throttles
from jobs.execute.doubt import was_taken
from jobs.execute.launches import Launch, Queued
from jobs.execute.limits import Limits, read_limits
from jobs.execute.queue import Job
from jobs.execute.sbatch import Full, Refused, Taken, Unheard, sent_by, submit

LONGEST_PAUSE = 30 * QUEUE  # between tries while there are no places
TRIES = 2  # with one array of which Slurm said nothing and knows nothing


class Submitter:
    """What of a launch is not submitted yet. Every call is made under the lock of ``jobs.execute.lock``.

    Args:
        launch: whose tasks they are.
        settings: what to ask of Slurm, by the names of hydra-submitit-launcher.
        label: begins the names of the jobs.
        limits: of the cluster, as they were at the look of which ``there`` is.
        there: how many jobs of this user were in the queue then.
        avoid: nodes that tasks are kept away from.
        say: called with a sentence about what is going on.
    """

    def __init__(
        self,
        launch: Launch,
        settings: dict[str, Any],
        *,
        label: str,
        limits: Limits,
        there: int,
        avoid: list[str],
        say: Callable[[str], None],
    ):
        self.launch, self.settings, self.label, self.limits, self.say = launch, dict(settings), label, limits, say
        self.parallelism = int(self.settings.pop("array_parallelism", None) or len(launch.listing))
        self.left = list(range(len(launch.listing)))
        self.exclude: list[str] = list(avoid)
        self.arrays: list[str] = []  # that Slurm has taken
        self.sent: list[Queued] = []  # the tasks of those, for who watches what becomes of them
        self.refusal = ""
        self.full = ""
        self._there, self._serial, self._reread = there, 0, time.monotonic() + LONGEST_PAUSE
        self._pause, self._next, self._full_at = QUEUE, 0.0, 0

    def again(self, numbers: Collection[int]) -> None:
        """Put tasks back that have to be submitted once more."""
        self.left = sorted({*self.left, *numbers})

    def drop(self, numbers: Collection[int]) -> None:
        """Forget tasks that need not, or must not, be submitted any more."""
        gone = set(numbers)
        self.left = [number for number in self.left if number not in gone]

    def keep_away(self, node: str) -> None:
        """Submit nothing to a node any more, and keep what is pending from it."""
        self.exclude.append(node)
        # What earlier launches avoid stays theirs, so that its day ends.
        self.launch.avoid([*(self.launch.avoided() or []), node])
        away = ",".join(filter(None, (self.settings.get("exclude"), *self.exclude)))
        for array in self.arrays:  # Slurm says no for those that have no pending tasks any more
            queue.ask("scontrol", "update", f"JobId={array}", f"ExcNodeList={away}")

    def fill(self, jobs: list[Job], ours: list[Queued]) -> None:
        """Submit what there are places for.

        Args:
            jobs: what this user has in the queue now.
            ours: which of them are tasks of these runs, of whatever launch.

        Raises:
            BadInput: Slurm does not tell whether it took an array.
        """
        own = [task for task in ours if task.launch == self.launch]
        self.arrays = sorted({*self.arrays, *(task.job.array for task in own)})
        self.drop({task.number for task in own})
        if not self.left or self.refusal or not self._may_try(len(jobs)):
            return
        self.full = ""
        places = self._places(len(jobs))
        if places < min(len(self.left), max(1, len(ours) // 10)):  # not an array for every single task that ends
            self.full = f"{self.limits.most} jobs may be in the queue"
            return
        arrays = cut(self.left, places, self.limits.array)
        shares = throttles(len(arrays), self.parallelism, at_work([task.job for task in ours]))
        if places < len(self.left):
            self.full = f"{self.limits.most} jobs may be in the queue"
        for numbers, share in zip(arrays, shares, strict=False):
            if not self._submit(numbers, share, len(jobs)):
                return

    def _places(self, there: int) -> int:
        """Return how many tasks may be submitted, by what has left the queue since the limits were read.

        What others have in it may count as well, and only Slurm knows that: now and then the limits are read again.
        """
        wanted, places = len(self.left), self.limits.places
        if places is not None and places + self._there - there < wanted and time.monotonic() > self._reread:
            self.limits, self._there = read_limits(self.settings), there
            self._reread, places = time.monotonic() + LONGEST_PAUSE, self.limits.places
        return wanted if places is None else min(wanted, places + self._there - there)

    def _submit(self, numbers: tuple[int, ...], share: int, there: int) -> bool:
        """Submit some tasks, or as many of them as there is place for; returns whether all are."""
        wanted = len(numbers)
        while numbers:
            outcome = self._send(Array(self._serial, numbers, share))
            if isinstance(outcome, Taken):
                self._note(Array(self._serial - 1, numbers, share), outcome.array)
                self.drop(numbers)
                there += len(numbers)
                break
            if isinstance(outcome, Refused):
                self.refusal = refusal(outcome, self.settings)
                return False
            self.full = outcome.reason
            numbers = numbers[: len(numbers) // 2]
        if len(numbers) == wanted:
            self._pause, self._next = QUEUE, 0.0
            return True
        self._full_at, self._next = there, time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return False

    def _note(self, array: Array, job: str) -> None:
        if job:  # else the next look at the queue tells it
            self.arrays.append(job)
            for number in array.numbers:
                one = Job(job, number - array.offset, "PENDING", "None", "", None, "")
                self.sent.append(Queued(self.launch, array.serial, number, one))

    def _may_try(self, there: int) -> bool:
        """After a full queue: when a tenth of what was in it has gone, or after a pause that grows."""
        return not self._next or there < 0.9 * self._full_at or time.monotonic() >= self._next

    def _send(self, array: Array) -> Taken | Full | Refused:
        name = self.launch.job_name(self.label, array.serial, array.offset)
        text = script(self.settings, self.launch.folder, name, array, self.exclude)
        outcome: Taken | Full | Refused
        tries = 0
        while True:
            self.launch.about_to_submit(array.serial, text)
            heard = submit(text, self.say)
            if not isinstance(heard, Unheard):
                outcome = heard
                break
            if was_taken(self.launch, array.serial, self.say):
                outcome = Taken("")
                break
            tries += 1
            if tries == TRIES:
                raise BadInput(
                    f"Slurm does not take the array {name} ({heard.reason}): start the same command again later"
                )
        self._serial += 1  # whatever the disk says
        with contextlib.suppress(OSError):  # a full one: the next command asks Slurm
            self.launch.answered(array.serial, *told(outcome))
        return outcome


def told(outcome: Taken | Full | Refused) -> tuple[str, str]:
    """Return what is written down of an answer: in words, and the array's id."""
    return ("taken", outcome.array) if isinstance(outcome, Taken) else (outcome.reason, "")


def refusal(refused: Refused, settings: dict[str, Any]) -> str:
    """Return the sentence about what Slurm refuses, with the settings that it is about."""
    options = sent_by(refused.reason, settings)
    return f"Slurm refused the array: {refused.reason}{f' (sent by {options})' if options else ''}"
