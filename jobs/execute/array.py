"""Arrays as pure functions: how tasks are cut into them, and the text that sbatch gets for one."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jobs.dataset.shards import format_shards
from jobs.execute.queue import Job


@dataclass(frozen=True)
class Array:
    """Some tasks of a launch, submitted at once.

    Attributes:
        serial: number of the submission in its launch.
        numbers: of the tasks, in order.
        throttle: most of them that may run at once.
    """

    serial: int
    numbers: tuple[int, ...]
    throttle: int

    @property
    def offset(self) -> int:
        """The task that index 0 stands for: indices of arrays are small, whatever the number of tasks."""
        return self.numbers[0]

    @property
    def indices(self) -> str:
        """As sbatch takes them: ``0-9,12%4``."""
        own = format_shards([number - self.offset for number in self.numbers])
        return f"{own}%{min(self.throttle, len(self.numbers))}"


def cut(numbers: Sequence[int], places: int, most: int) -> list[tuple[int, ...]]:
    """Cut the first tasks into arrays of about one size.

    Args:
        numbers: of the tasks, in order.
        places: how many tasks may be submitted by now.
        most: that an array may have, and above its highest index.
    """
    chosen = list(numbers[: max(places, 0)])
    if not chosen:
        return []
    size = -(-len(chosen) // -(-len(chosen) // most))
    arrays: list[tuple[int, ...]] = []
    while chosen:
        part = [number for number in chosen[:size] if number - chosen[0] < most]
        arrays.append(tuple(part))
        chosen = chosen[len(part) :]
    return arrays


def at_work(jobs: list[Job]) -> int:
    """Return how many of the tasks in the queue may run at once, by what is left of each array and its throttle."""
    total = 0
    for _, array in groupby(sorted(jobs, key=lambda job: job.array), key=lambda job: job.array):
        tasks = list(array)
        throttle = min((job.throttle for job in tasks if job.throttle), default=len(tasks))
        total += min(len(tasks), throttle)
    return total


def throttles(arrays: int, parallelism: int, working: int) -> list[int]:
    """Return what each of so many arrays may run at once, so that all together keep to ``array_parallelism``.

    There are fewer than arrays where there is not one for each; none where what is free is less than a quarter, since
    arrays that can use little of the cluster would use up the places in the queue.

    Args:
        arrays: to be submitted.
        parallelism: most tasks at once.
        working: how many may run already.
    """
    free = parallelism - working
    if free < 1 or (working and free < parallelism / 4):
        return []
    parts = min(arrays, free)
    return [free // parts + (part < free % parts) for part in range(parts)]


def script(settings: dict[str, Any], folder: Path, name: str, array: Array, exclude: Sequence[str] = ()) -> str:
    """Return the text that sbatch gets for an array.

    Args:
        settings: what is asked of Slurm, by the names of hydra-submitit-launcher.
        folder: of the launch, where the logs go.
        name: of the job.
        array: its tasks.
        exclude: nodes to stay away from, besides those that the settings exclude.
    """
    from submitit import SlurmExecutor

    settings = {**settings, "name": name}
    if exclude:
        settings["exclude"] = ",".join(filter(None, (settings.get("exclude"), *exclude)))
    more = {**(settings.pop("additional_parameters", None) or {}), "array": array.indices}
    executor = SlurmExecutor(folder, python=settings.pop("python", None))
    given = {name: value for name, value in settings.items() if value is not None}
    # Submitit gives no public name to the text alone: what it writes it also submits, one function call a job.
    executor.update_parameters(**executor._convert_parameters(given), additional_parameters=more)
    # the logs' names are an array's, and Submitit's own accounting key is not for us
    executor.parameters |= {
        "map_count": len(array.numbers),
        "wckey": None,
    }
    words = ["-u", "-m", "jobs.execute.job", str(folder), str(array.serial), str(array.offset)]
    return executor._make_submission_file_text(f"{executor.python} {shlex.join(words)}", "")
