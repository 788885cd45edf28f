"""The launches of a run: which tasks each one had, and which of them are still in a queue.

    logs/launch-20261125-120000-123456/tasks.json   the shards of each task, written before anything is submitted

The folder's name is part of the name of its jobs, so that the queue itself tells whose a job is, even if the process
that submitted it died in the middle.
"""

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.dataset.shards import format_shards, parse_shards
from jobs.execute.task import Task
from jobs.run.run import Run
from jobs.store.atomic import write_json


@dataclass(frozen=True)
class Launch:
    """One launch, by the folder of its logs: in the run's own logs, or beside the runs of a sweep."""

    folder: Path

    @classmethod
    def begin(cls, runs: list[Run], tasks: list[Task]) -> "Launch":
        """Make the folder and write down the tasks."""
        own = runs[0].directory.path.absolute()
        home = own if len(runs) == 1 else own.parent
        folder = home / "logs" / f"launch-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}"
        folder.mkdir(parents=True)
        listing = [
            {"run": str(task.run.directory.path.absolute()), "shards": format_shards(task.shards)} for task in tasks
        ]
        write_json(folder / "tasks.json", listing)
        return cls(folder)

    def job_name(self, label: str) -> str:
        """Return the name of its jobs: a label for people, and the folder's name."""
        return f"{re.sub(r'[^A-Za-z0-9]+', '-', label)}-{self.folder.name}"

    def owns(self, name: str) -> bool:
        """Return whether a job of that name is one of this launch."""
        return name.endswith(f"-{self.folder.name}")

    def queued(self, run: Run, names: dict[str, str]) -> dict[str, list[int]]:
        """Return job id -> shards of the tasks of ``run`` that are in the queue.

        Args:
            run: the run; a sweep's launch has tasks of other runs too.
            names: job id -> name of what is in the queue.
        """
        jobs = [job for job, name in names.items() if self.owns(name)]
        tasks = json.loads((self.folder / "tasks.json").read_text()) if jobs else []
        own = str(run.directory.path.absolute())
        numbered = {job: tasks[int(job.partition("_")[2] or 0)] for job in jobs}
        return {job: parse_shards(task["shards"], sys.maxsize) for job, task in numbered.items() if task["run"] == own}


def launches_of(run: Run) -> list[Launch]:
    """Return the launches that had tasks of a run, its own and those of sweeps."""
    own = run.directory.path.absolute()
    return [Launch(path.parent) for home in (own, own.parent) for path in home.glob("logs/launch-*/tasks.json")]
