"""The launches of a run: which tasks each one has, and which jobs of a queue are theirs.

    logs/launch-20261125-120000-123456/tasks.json   the shards of each task
                                       tasks.pkl    the tasks themselves, which a job of Slurm's reads where it starts
                                       array-0.sh   what sbatch is about to get for an array
                                       array-0.json what it answered
                                       array-0.id   the array that has these tasks, by the first of them to start
                                       begun/       which tasks have come to their work (jobs.execute.begun)

The first two are written before anything is submitted. The folder's name is part of the name of its jobs, with the
number of the array and the task that its index 0 stands for (``my-run-launch-20261125-120000-123456.1.1000``), so that
the queue itself tells which tasks a job has, even if the process that submitted it died in the middle.
"""

import contextlib
import json
import os
import pickle
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jobs.dataset.shards import format_shards, parse_shards
from jobs.execute.queue import Job
from jobs.execute.task import Task
from jobs.run.work import Work
from jobs.store.atomic import write_bytes, write_json

A_DAY = 24 * 3600.0

_NAME = re.compile(r"-(launch-[\d-]+)\.(\d+)\.(\d+)$")


def spelled(run: Path) -> str:
    """Return a run's directory as runs are written down and compared: the same whatever links or ``..`` lead there."""
    return str(run.resolve())


@dataclass(frozen=True)
class Launch:
    """One launch, by the folder of its logs: in the run's own logs, or beside the runs of a sweep."""

    folder: Path

    @classmethod
    def begin(cls, runs: Sequence[Work], tasks: list[Task]) -> "Launch":
        """Make the folder and write down the tasks."""
        own = runs[0].directory.path.absolute()
        home = own if len(runs) == 1 else own.parent
        folder = home / "logs" / f"launch-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}"
        folder.mkdir(parents=True)
        listing = [{"run": spelled(task.run.directory.path), "shards": format_shards(task.shards)} for task in tasks]
        write_bytes(folder / "tasks.pkl", pickle.dumps(tasks))  # once: all of them share their run
        write_json(folder / "tasks.json", listing)
        return cls(folder)

    @cached_property
    def listing(self) -> list[dict[str, Any]]:
        """The run and the shards of each task."""
        listing: list[dict[str, Any]] = json.loads((self.folder / "tasks.json").read_text())
        return listing

    @property
    def owners(self) -> set[int]:
        """The user who submitted it, where several work in one directory."""
        return {self.folder.stat().st_uid}

    def shards(self, number: int) -> list[int]:
        """Return the shards of a task."""
        return parse_shards(self.listing[number]["shards"], sys.maxsize)

    def task(self, number: int) -> Task:
        """Read a task, where it is to run."""
        tasks: list[Task] = pickle.loads((self.folder / "tasks.pkl").read_bytes())
        return tasks[number]

    def job_name(self, label: str, serial: int = 0, offset: int = 0) -> str:
        """Return the name of a submission's jobs, which no other submission of any run has.

        Args:
            label: for people.
            serial: number of the submission in its launch.
            offset: the task that index 0 of the array stands for.
        """
        return f"{re.sub(r'[^A-Za-z0-9]+', '-', label)}-{self.folder.name}.{serial}.{offset}"

    def claim(self, serial: int, array: str) -> bool:
        """Take the tasks of a submission for one array; only the first that asks gets them.

        sbatch may fail although Slurm took the array, so that it is submitted once more: the tasks of the second array
        find here that they have nothing to do.
        """
        path = self.folder / f"array-{serial}.id"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return path.read_text() in (array, "")  # empty for an instant, or for ever on a full disk
        try:
            os.write(file, array.encode())
        finally:
            os.close(file)
        return True

    def claimed(self, serial: int) -> bool:
        """Return whether a task of a submission has begun."""
        return (self.folder / f"array-{serial}.id").exists()

    def about_to_submit(self, serial: int, script: str) -> None:
        """Write down what sbatch is going to get: who finds no answer to it has to ask Slurm what became of it."""
        (self.folder / f"array-{serial}.json").unlink(missing_ok=True)  # of an earlier try
        write_bytes(self.folder / f"array-{serial}.sh", script.encode())

    def sent_name(self, serial: int) -> str:
        """Return the name of the jobs of an array."""
        found = re.search(r"^#SBATCH --job-name=(.*)$", (self.folder / f"array-{serial}.sh").read_text(), re.MULTILINE)
        return found[1] if found else ""

    def sent_at(self, serial: int) -> float:
        """Return when an array was about to be submitted."""
        return (self.folder / f"array-{serial}.sh").stat().st_mtime

    def answered(self, serial: int, answer: str, array: str = "") -> None:
        """Write down what came of it, and the array's id if that is known."""
        write_json(self.folder / f"array-{serial}.json", {"answer": answer, "array": array})

    def unanswered(self) -> list[int]:
        """Return the arrays of which it is not known whether Slurm took them."""
        asked = {int(path.stem.partition("-")[2]) for path in self.folder.glob("array-*.sh")}
        return sorted(
            serial
            for serial in asked
            if not any((self.folder / f"array-{serial}.{end}").exists() for end in ("json", "id"))
        )

    def avoid(self, nodes: list[str]) -> None:
        """Write down the nodes on which tasks die before they begin anything, for later commands."""
        with contextlib.suppress(OSError):  # on a full disk those find it out anew
            write_json(self.folder / "avoid.json", nodes)

    def avoided(self) -> list[str] | None:
        """Return those nodes, for a day, since somebody may have mended them by then; None where none are told."""
        path = self.folder / "avoid.json"
        try:
            recent = time.time() - path.stat().st_mtime < A_DAY
            return list(json.loads(path.read_text())) if recent else None
        except FileNotFoundError:
            return None

    def logs(self) -> dict[Path, int]:
        """Return the logs of the tasks' first ranks, the latest first, and each one's task."""
        offsets = self._offsets()
        numbers = {}
        for path in sorted(self.folder.glob("*_0_log.err"), key=lambda path: path.stat().st_mtime, reverse=True):
            array, _, task = path.name.removesuffix("_0_log.err").partition("_")
            number = offsets.get(array, 0) + int(task or 0)
            if number < len(self.listing):
                numbers[path] = number
        return numbers

    def _offsets(self) -> dict[str, int]:
        """Return array id -> the task that its index 0 stands for."""
        offsets = {}
        for sent in self.folder.glob("array-*.sh"):
            offset = int(self.sent_name(int(sent.stem.partition("-")[2])).rpartition(".")[2] or 0)
            with contextlib.suppress(FileNotFoundError):
                offsets[json.loads(sent.with_suffix(".json").read_text()).get("array", "")] = offset
            with contextlib.suppress(FileNotFoundError):
                offsets[sent.with_suffix(".id").read_text()] = offset
        return offsets


class Queued(NamedTuple):
    """A task of a launch that is in the queue."""

    launch: Launch
    serial: int
    number: int
    job: Job

    @property
    def run(self) -> str:
        """The directory of its run, ``spelled``."""
        return str(self.launch.listing[self.number]["run"])

    @property
    def shards(self) -> list[int]:
        """Its shards."""
        return self.launch.shards(self.number)


class InQueue(NamedTuple):
    """A look at the queue.

    Attributes:
        tasks: of the runs that are looked for, of whatever launch.
        jobs: ids of all jobs that are there, other programs' too; None where there is no queue.
    """

    tasks: list[Queued]
    jobs: set[str] | None


def launches_of(runs: Iterable[Path]) -> dict[str, Launch]:
    """Return the launches that may have tasks of runs, their own and those of sweeps, by the folder's name."""
    # As one wrote it last: so it is in this command's own launch, and a link may lead to a sweep's launch or away.
    homes = {home: None for run in runs for path in (run.resolve(), run.absolute()) for home in (path, path.parent)}
    found = [path.parent for home in homes for path in home.glob("logs/launch-*/tasks.json")]
    return {folder.name: Launch(folder) for folder in found}


def avoided_by(launches: Iterable[Launch]) -> list[str]:
    """Return the nodes that launches avoided, given oldest first; one that found them without fault acquits them."""
    nodes: list[str] = []
    for launch in launches:
        told = launch.avoided()
        nodes = [] if told == [] else list(dict.fromkeys([*nodes, *(told or ())]))
    return nodes


def queued_tasks(runs: Iterable[Path], launches: dict[str, Launch], jobs: list[Job]) -> Iterator[Queued]:
    """Yield the tasks of runs that are in the queue.

    Args:
        runs: directories; a sweep's launch has tasks of other runs too.
        launches: by the folder's name.
        jobs: what is in the queue, other programs' jobs too.
    """
    own = {spelled(run) for run in runs}
    for job in jobs:
        named = _NAME.search(job.name)
        launch = launches.get(named[1]) if named else None
        if named and launch:
            number = int(named[3]) + (job.task or 0)
            if number < len(launch.listing) and launch.listing[number]["run"] in own:
                yield Queued(launch, int(named[2]), number, job)


def queued_arrays(jobs: list[Job]) -> set[tuple[str, int]]:
    """Return the arrays that are in the queue: the name of their launch's folder, and their number in it."""
    named = filter(None, map(_NAME.search, {job.name for job in jobs}))
    return {(name[1], int(name[2])) for name in named}
