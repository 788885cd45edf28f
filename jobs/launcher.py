"""Hydra's launcher, with what a long resumable job and its ranks need of it."""

import re
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from jobs import slurm
from jobs.errors import BadInput
from jobs.prepare import Prepared

REQUEUES = 20  # how often a task that ran into its time limit is queued again (each time it resumes)


def check_ranks(config: DictConfig, prepared: list[Prepared]) -> None:
    """Refuse a launcher that does not start the ranks that share a sample.

    Raises:
        BadInput: nodes, tasks or GPUs do not fit ``parallel``.
    """
    if len({one.options.parallel for one in prepared}) > 1:
        raise BadInput("parallel cannot be swept, as all tasks of an array have as many ranks: launch one run for each")
    if "submitit_folder" not in config.hydra.launcher:
        return
    degrees, launcher = prepared[0].options.parallel, config.hydra.launcher
    nodes, size = launcher.nodes, degrees.size
    tasks = launcher.tasks_per_node if _given(config, "tasks_per_node") else None
    if "setup" not in launcher and nodes > 1:
        raise BadInput(f"hydra.launcher.nodes={nodes} needs hydra/launcher=submitit_slurm: leave it out")
    if size % nodes:
        raise BadInput(
            f"hydra.launcher.nodes={nodes} does not divide the {size} ranks of {degrees}: "
            "let the degrees' product be a multiple of the nodes"
        )
    if tasks not in (None, size // nodes):
        raise BadInput(
            f"hydra.launcher.tasks_per_node={tasks} on {nodes} nodes makes {tasks * nodes} ranks, and {degrees} needs "
            f"{size}: leave tasks_per_node out"
        )
    needed = size // nodes * _gpus(prepared)
    there = slurm.node_gpus(launcher.partition) if size > 1 and "setup" in launcher else None
    if there and needed > there:
        raise BadInput(
            f"{degrees} on {nodes} {'nodes' if nodes > 1 else 'node'} needs {needed} GPUs on each, and the largest has "
            f"{there}: use more hydra.launcher.nodes, or lower degrees"
        )
    gpus = launcher.gpus_per_node if _given(config, "gpus_per_node") else None
    if gpus is not None and size > 1 and _gpus(prepared) and gpus < size // nodes:
        raise BadInput(
            f"hydra.launcher.gpus_per_node={gpus} is fewer than the {size // nodes} ranks that {degrees} puts on a "
            "node: leave gpus_per_node out"
        )


def make_launcher(
    context: HydraContext, task_function: TaskFunction, config: DictConfig, folder: Path, prepared: list[Prepared]
) -> Any:
    """Instantiate the launcher that ``config`` names, its logs in ``folder``; what the user gave stays as it is."""
    launcher = config.hydra.launcher
    wanted: dict[str, Any] = {"hydra.sweep.dir": str(folder)}
    setup = []
    if "submitit_folder" in launcher:
        ranks = prepared[0].options.parallel.size // launcher.nodes
        wanted["hydra.launcher.submitit_folder"] = f"{folder}/%j"
        wanted["hydra.launcher.name"] = re.sub(r"\W+", "-", prepared[0].run.path.name)
        wanted["hydra.launcher.tasks_per_node"] = ranks
        if "setup" in launcher:  # Slurm's
            wanted["hydra.launcher.max_num_timeout"] = REQUEUES
            if gpus := _gpus(prepared):
                wanted["hydra.launcher.gpus_per_node"] = gpus * ranks
            # one rank's end is the task's: the others are waiting for it
            setup = ["export SLURM_KILL_BAD_EXIT=1"]
    with open_dict(config):
        for name, value in wanted.items():
            if not _given(config, name.removeprefix("hydra.launcher.")):
                OmegaConf.update(config, name, value)
        if setup:
            launcher.setup = [*(launcher.setup or []), *setup]
        # tasks compose their config anew from these
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{folder}'")
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task_function, config=config)


def _given(config: DictConfig, name: str) -> bool:
    """Whether the command line sets an option of the launcher (or, with a dot in its name, another of Hydra's)."""
    full = name if "." in name else f"hydra.launcher.{name}"
    return any(str(item).lstrip("+").startswith(f"{full}=") for item in config.hydra.overrides.hydra)


def _gpus(prepared: list[Prepared]) -> int:
    return max(one.options.model["gpus"] for one in prepared)
