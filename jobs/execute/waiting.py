"""Waits for the tasks of runs that are in the queue, and submits the others as places get free."""

import errno
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from jobs.base.errors import BadInput
from jobs.base.times import BLOCKED, POLL, QUEUE
from jobs.execute import queue
from jobs.execute.aftermath import Aftermath
from jobs.execute.inqueue import ask
from jobs.execute.launches import Queued, launches_of, spelled
from jobs.execute.lock import Held, submitting
from jobs.execute.pending import blocked, nothing_runs, reasons
from jobs.execute.plan import Unmade
from jobs.execute.submit import Submitter
from jobs.report.live import Display
from jobs.report.progress import Progress

T = TypeVar("T")
SURE = 2  # looks in a row that have to show the same, before it is believed
AWAY = 3  # looks in a row without a run's directory: a network file system may lose sight of it


@dataclass
class _Look:
    """One look at the queue: all of this user's jobs, and which of them are tasks of the runs."""

    jobs: list[queue.Job]
    tasks: list[Queued]

    @property
    def running(self) -> int:
        return sum(task.job.state != "PENDING" for task in self.tasks)


@dataclass
class Wait:
    """The wait for some runs.

    Attributes:
        unmade: the runs, and which of their shards are waited for.
        submitter: of this command's launch, if it has one.
        display: shows where things stand.
        problems: what went wrong.
    """

    unmade: list[Unmade]
    submitter: Submitter | None
    display: Display
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._runs = [one.run.directory for one in self.unmade]
        self._folders = [run.path for run in self._runs]
        self._progress = Progress([(one.run, set(one.asked)) for one in self.unmade])
        self._aftermath = Aftermath(self._runs, self.submitter, self.display.say, self.display.fail)
        if self.submitter:
            self._aftermath.expect(self.submitter.sent)
            self.submitter.sent = []
        self._cancelled = {run.path: run.cancelled() for run in self._runs}
        self._silent, self._disk = False, ""  # what is said once
        self._missing: Counter[Path] = Counter()  # looks in a row without that run

    def until_done(self) -> list[str]:
        """Wait until every shard is done, or nothing that is in the queue or to be submitted will change that.

        Returns:
            What went wrong; what the files of the runs tell anyway is not repeated.

        Raises:
            SystemExit: somebody ends the command, or takes a run's directory away.
        """
        with self.display:
            try:
                self._wait()
            except KeyboardInterrupt:
                self.display.say(
                    "interrupted: the tasks go on without this command; the same command waits for them again, "
                    f"python -m jobs.cancel {self._folders[0]} ends them"
                )
                sys.exit(130)
        if self.submitter and (left := self.submitter.left):
            why = self.submitter.refusal or self.submitter.full
            self.problems.append(f"{len(left)} tasks were not submitted{f': {why}' if why else ''}")
        return [*self.problems, *self._aftermath.told()]

    def _wait(self) -> None:
        gone, free = 0, time.monotonic()  # when something was last seen that can start
        while True:
            if not self._steadily(self._check_runs):
                self._pause()
                continue
            look = self._steadily(self._look)
            complete = self._steadily(self._progress.done) == sum(len(one.asked) for one in self.unmade)
            if look:
                self._steadily(partial(self._aftermath.see, look.tasks))
                if self.submitter:  # since that look; they may be through at the next one
                    self._aftermath.expect(self.submitter.sent)
                    self.submitter.sent = []
                idle = not look.tasks and not self._to_submit
                gone = gone + 1 if idle else 0
                verdicts = blocked(look.tasks, nothing_runs(look.jobs))
                free = free if verdicts else time.monotonic()
                if not complete:
                    self._show(look)
                if verdicts and time.monotonic() - free > BLOCKED and not complete:
                    self.problems += verdicts
                    return
            else:
                free = time.monotonic()  # nobody knows
            if complete and self.submitter:
                self.submitter.left.clear()
            if complete or gone == SURE:
                return self._tell_of_twins(look)
            self._pause()

    def _tell_of_twins(self, look: _Look | None) -> None:
        twins = [task for task in look.tasks if task.job.state == "PENDING"] if look else []
        if twins:
            self.display.say(
                f"every shard is done; {len(twins)} tasks are still in the queue, which will find nothing to do "
                f"(python -m jobs.cancel {self._folders[0]} takes them out)"
            )

    @property
    def _to_submit(self) -> int:
        return len(self.submitter.left) if self.submitter and not self.submitter.refusal else 0

    def _show(self, look: _Look) -> None:
        glance = self._steadily(self._progress.look)
        if glance:
            full = self.submitter.full if self.submitter else ""
            self.display.show(glance, look.running, reasons(look.tasks), self._to_submit, full)

    def _pause(self) -> None:
        """Until the next look at the queue; the end of the last shard is seen sooner."""
        end = time.monotonic() + QUEUE
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(POLL, left))
            if self._steadily(self._progress.done) == sum(len(one.asked) for one in self.unmade):
                return

    def _steadily(self, ask: Callable[[], T]) -> T | None:
        """Return an answer; None while the disk gives none, which may pass and is said once."""
        try:
            answer = ask()
        except OSError as error:
            said = f"{error.filename or self._folders[0]}: {error.strerror}"
            if said != self._disk:
                self._disk = said
                self.display.say(f"{said}: waiting for it")
            return None
        return answer

    def _check_runs(self) -> bool:
        """Heed what was done to the runs since the last look; True where nothing hinders another one.

        Raises:
            OSError: a run cannot be seen, which may pass: nothing can be said of its shards and tasks then.
            SystemExit: it was taken away.
        """
        for run in self._runs:
            self._missing[run.path] = 0 if run.exists() else self._missing[run.path] + 1
            if self._missing[run.path] == AWAY:
                self.display.say(
                    f"error: {run.path} was taken away while its tasks were waited for: "
                    "they fail as they start, or take them out of the queue with scancel"
                )
                sys.exit(1)
            if self._missing[run.path]:
                raise FileNotFoundError(errno.ENOENT, "it is not there", str(run.path / "run.json"))
            if run.cancelled() != self._cancelled[run.path]:
                self._cancelled[run.path] = run.cancelled()
                self.problems.append(f"{run.path} was cancelled (python -m jobs.cancel)")
                self._aftermath.forget(run)
                if self.submitter:
                    own = spelled(run.path)
                    listing = self.submitter.launch.listing
                    self.submitter.drop([number for number, task in enumerate(listing) if task["run"] == own])
        return True

    def _look(self) -> _Look | None:
        """Look at the queue once, and submit what there are places for; None where it does not answer."""
        if not self._to_submit:
            return self._ask()
        try:
            with submitting(self._folders):
                self._check_runs()  # it may have been cancelled just now
                look = self._ask()
                if look and self.submitter:
                    self._fill(self.submitter, look)
                return look
        except Held:  # another command is submitting: at the next look
            return self._ask()

    def _ask(self) -> _Look | None:
        answer = ask(self._folders, launches_of(self._folders))
        if (answer is None) != self._silent:
            self._silent = answer is None
            self.display.say(f"{queue.NO_ANSWER}: waiting for it" if self._silent else "it answers again")
        if answer is None:
            return None
        return _Look(answer[0], answer[1].tasks)

    def _fill(self, submitter: Submitter, look: _Look) -> None:
        taken = {(task.run, shard) for task in look.tasks for shard in task.shards}
        for run in self._runs:
            taken |= {(spelled(run.path), shard) for shard in run.done_shards()}
        listing = submitter.launch.listing
        needless = [
            number
            for number in submitter.left
            if taken.issuperset((listing[number]["run"], shard) for shard in submitter.launch.shards(number))
        ]
        submitter.drop(needless)
        try:
            submitter.fill(look.jobs, look.tasks)
        except BadInput as error:
            self.problems.append(str(error))
            submitter.left.clear()
