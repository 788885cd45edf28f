"""Cuts what is left of each run into tasks. Pure: it asks the launcher for limits and touches nothing."""

from dataclasses import dataclass

from jobs.base.errors import BadInput
from jobs.execute.launch import Launcher
from jobs.execute.task import Task
from jobs.run.run import Run


@dataclass(frozen=True)
class Unmade:
    """What of a run this command is for.

    Attributes:
        run: the run.
        asked: its unfinished shards.
        free: those of them that no living attempt and no queued task is for.
        queued: ids of the queued tasks of earlier launches.
    """

    run: Run
    asked: list[int]
    free: list[int]
    queued: set[str]


def plan_tasks(unmade: list[Unmade], launcher: Launcher) -> list[Task]:
    """Cut each run's free shards into tasks.

    Raises:
        BadInput: the shards_per_task asked for makes an array longer than the cluster takes.
    """
    counts = [len(one.free) for one in unmade]
    total = sum(counts)
    limit = launcher.array_limit(total)
    options = unmade[0].run.options
    if (runs_left := sum(map(bool, counts))) > limit:
        raise BadInput(
            f"this sweep has {runs_left} runs and the cluster takes {limit} tasks in an array: sweep fewer values"
        )
    size = options.shards_per_task or 1
    if options.shards_per_task is None and launcher.on_this_machine:
        size = max(1, -(-total // launcher.at_once(unmade[0].run)))
    while (count := sum(-(-shards // size) for shards in counts)) > limit:
        if options.shards_per_task is not None:
            raise BadInput(
                f"shards_per_task={options.shards_per_task} makes an array of {count} tasks where this cluster takes "
                f"{limit}: use a larger shards_per_task, or leave it out"
            )
        size += max(1, size * (count - limit) // (2 * limit))
    chunks = [(one.run, one.free[start : start + size]) for one in unmade for start in range(0, len(one.free), size)]
    return [Task(run, shards, number) for number, (run, shards) in enumerate(chunks)]
