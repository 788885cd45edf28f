"""Cuts what is left of each run into tasks. Pure: it asks the launcher for sizes and touches nothing."""

from dataclasses import dataclass
from typing import Protocol

from jobs.execute.task import Task
from jobs.execute.work import AnyWork


class Sizes(Protocol):
    """The part of a launcher that a plan depends on."""

    on_this_machine: bool

    def at_once(self, run: AnyWork) -> int: ...

    def workers(self, run: AnyWork) -> int: ...

    def shards_per_task(self, run: AnyWork) -> int: ...


@dataclass(frozen=True)
class Unmade:
    """What of a run this command is for.

    Attributes:
        run: the run.
        asked: its unfinished shards.
        free: those of them that no living attempt and no queued task is for.
    """

    run: AnyWork
    asked: list[int]
    free: list[int]


def plan_tasks(unmade: list[Unmade], launcher: Sizes) -> list[Task]:
    """Cut each run's free shards into tasks: as many as the machine works at once, or ``shards_per_task`` each."""
    total = sum(len(one.free) for one in unmade)
    size = unmade[0].run.options.shards_per_task or launcher.shards_per_task(unmade[0].run)
    if unmade[0].run.options.shards_per_task is None and launcher.on_this_machine:
        size = max(1, -(-total // launcher.at_once(unmade[0].run)))
    chunks = [(one.run, one.free[start : start + size]) for one in unmade for start in range(0, len(one.free), size)]
    return [Task(run, shards, number, launcher.workers(run)) for number, (run, shards) in enumerate(chunks)]
