"""How a task lies on its nodes: processes that the cluster starts, their GPUs, and the workers in each. Pure."""

import re
from dataclasses import dataclass
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.schema import Options


@dataclass(frozen=True)
class Shape:
    """One task.

    Attributes:
        tasks_per_node: processes that the cluster starts on each node.
        gpus_per_node: that it gives the task on each; 0: none are asked for.
        workers: that each of these processes has; 1 also where they are ranks of one that several share.
        at_once: shards that the whole task works at a time.
    """

    tasks_per_node: int
    gpus_per_node: int
    workers: int
    at_once: int


def shape_of(settings: dict[str, Any], given: set[str], options: Options) -> Shape:
    """Return how a task lies on its nodes: one GPU a task, unless the settings say otherwise.

    Args:
        settings: the launcher's.
        given: names of those that the command line sets.
        options: of the run.

    Raises:
        BadInput: nodes, tasks or GPUs do not fit ``parallel``.
    """
    degrees, size, each = options.parallel, options.parallel.size, options.model.gpus
    nodes = settings.get("nodes") or 1
    tasks = settings["tasks_per_node"] if "tasks_per_node" in given else None
    gpus = _gpus(settings, given, tasks or 1)
    if nodes > 1:
        if tasks not in (None, size // nodes):
            raise BadInput(
                f"hydra.launcher.tasks_per_node={tasks} on {nodes} nodes makes {tasks * nodes} ranks, and {degrees} "
                f"needs {size}: leave tasks_per_node out"
            )
        return Shape(size // nodes, gpus or each * size // nodes, 1, 1)
    if tasks is not None and tasks > 1:
        if tasks % size:
            raise BadInput(
                f"hydra.launcher.tasks_per_node={tasks} makes {tasks} ranks, and {degrees} needs {size}, "
                "or a multiple: leave tasks_per_node out"
            )
        _check_enough(gpus, each * tasks, f"{tasks} tasks")
        return Shape(tasks, gpus or each * tasks, 1, tasks // size)
    if gpus and options.ngpu > size and options.ngpu * max(each, 1) != gpus:
        raise BadInput(
            f"ngpu={options.ngpu} and the {gpus} GPUs a node that the launcher is to ask for do not go together: "
            "leave one of the two out"
        )
    wide = gpus or (options.ngpu * each if options.ngpu > size else 0)
    own = size * max(each, 1)
    if wide > own:
        if wide % own:
            raise BadInput(
                f"{wide} GPUs a node are not a multiple of the {own} that {degrees} needs: "
                f"ask for hydra.launcher.gpus_per_node={wide // own * own}"
            )
        return Shape(1, wide, wide // own, wide // own)
    if options.ngpu > size and not each and not gpus:  # processes on the CPUs of one task
        return Shape(1, 0, options.ngpu // size, options.ngpu // size)
    _check_enough(gpus, own if each else 0, f"the {size} ranks that {degrees} puts on a node" if size > 1 else "one")
    return Shape(tasks or size, gpus or each * size, 1, 1)


def _gpus(settings: dict[str, Any], given: set[str], tasks: int) -> int:
    """Return the GPUs of a node that the command line asks for, however it does; 0 where it does not."""
    if "gpus_per_node" in given:
        return int(settings["gpus_per_node"] or 0)
    if settings.get("gpus_per_task"):
        return int(settings["gpus_per_task"]) * tasks
    counts = re.findall(r"(?:^|,)gpu(?::[^:,]+)?:(\d+)", str(settings.get("gres") or ""))
    return sum(map(int, counts))


def _check_enough(gpus: int, needed: int, who: str) -> None:
    if 0 < gpus < needed:
        raise BadInput(
            f"hydra.launcher.gpus_per_node={gpus} is fewer than {who} need{'s' if who == 'one' else ''} ({needed}): "
            "leave gpus_per_node out"
        )
