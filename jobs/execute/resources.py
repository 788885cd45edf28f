"""What a task asks the cluster for: from the launcher's settings and the run, and what does not fit together."""

from typing import Any, Protocol

from jobs.base.errors import BadInput
from jobs.execute import queue
from jobs.execute.halt import BEGAN, MINUTES
from jobs.options.degrees import Degrees
from jobs.run.run import Run

SIGNAL = 90  # seconds before the time limit at which Slurm sends a task SIGUSR2, of long limits


class Launched(Protocol):
    """The part of a launcher that resources depend on."""

    settings: dict[str, Any]
    given: set[str]


def check_resources(launcher: Launched, runs: list[Run]) -> None:
    """Refuse settings that do not start the ranks that share a sample.

    Raises:
        BadInput: nodes, tasks or GPUs do not fit ``parallel``.
    """
    if len({run.options.parallel for run in runs}) > 1:
        raise BadInput(
            "parallel cannot be swept, because all tasks of an array have the same number of ranks: "
            "start one command for each"
        )
    settings = launcher.settings
    if "tasks_per_node" not in settings:
        return
    _check_time(settings, launcher.given)
    degrees = runs[0].options.parallel
    nodes, size, on_slurm = settings["nodes"], degrees.size, "setup" in settings
    if nodes < 1:
        raise BadInput(f"hydra.launcher.nodes={nodes} must be a whole number of at least 1: leave it out")
    if not on_slurm and nodes > 1:
        raise BadInput(f"hydra.launcher.nodes={nodes} needs hydra/launcher=submitit_slurm: leave it out")
    if size % nodes:
        raise BadInput(
            f"hydra.launcher.nodes={nodes} does not divide the {size} ranks of {degrees}: "
            "let the degrees' product be a multiple of the nodes"
        )
    tasks = settings["tasks_per_node"] if "tasks_per_node" in launcher.given else None
    if tasks not in (None, size // nodes):
        raise BadInput(
            f"hydra.launcher.tasks_per_node={tasks} on {nodes} nodes makes {tasks * nodes} ranks, and {degrees} needs "
            f"{size}: leave tasks_per_node out"
        )
    if on_slurm and size > 1:
        _check_gpus(launcher, runs)


def _check_time(settings: dict[str, Any], given: set[str]) -> None:
    minutes, signal = settings["timeout_min"], settings["signal_delay_s"] if "signal_delay_s" in given else 0
    if minutes < 1:
        raise BadInput(f"hydra.launcher.timeout_min={minutes} must be at least 1: a task has to load the model first")
    if signal >= 60 * minutes:
        raise BadInput(
            f"hydra.launcher.signal_delay_s={signal} is not below hydra.launcher.timeout_min={minutes}, "
            f"which is {60 * minutes} seconds: leave it out"
        )


def _check_gpus(launcher: Launched, runs: list[Run]) -> None:
    settings, degrees = launcher.settings, runs[0].options.parallel
    nodes = settings["nodes"]
    ranks = degrees.size // nodes
    each = max(run.options.model.gpus for run in runs)
    there = queue.node_gpus(settings["partition"])
    if there and ranks * each > there:
        raise BadInput(
            f"{degrees} on {nodes} {'nodes' if nodes > 1 else 'node'} needs {ranks * each} GPUs on each, and the "
            f"largest has {there}: use more hydra.launcher.nodes, or lower degrees"
        )
    gpus = settings["gpus_per_node"] if "gpus_per_node" in launcher.given else None
    if gpus is not None and each and gpus < ranks:
        raise BadInput(
            f"hydra.launcher.gpus_per_node={gpus} is fewer than the {ranks} ranks that {degrees} puts on a node: "
            "leave gpus_per_node out"
        )


def submission(settings: dict[str, Any], given: set[str], degrees: Degrees, gpus: int, job_name: str) -> dict[str, Any]:
    """Return the settings to submit with; what the command line gives stays as it is.

    Args:
        settings: the launcher's.
        given: names of those that the command line sets.
        degrees: how many ranks a task has.
        gpus: that each rank needs.
        job_name: name of the jobs.
    """
    ranks = degrees.size // settings["nodes"]
    wanted: dict[str, Any] = {"tasks_per_node": ranks}
    if "setup" in settings:  # Slurm's
        # A task looks at the clock itself; the signal is for one that did not hear of its limit.
        wanted["signal_delay_s"] = min(SIGNAL, 60 * settings["timeout_min"] // 10)
        if gpus:
            wanted["gpus_per_node"] = gpus * ranks
    chosen = {**settings, **{name: value for name, value in wanted.items() if name not in given}, "name": job_name}
    if "setup" in settings:
        # one rank's end is the task's: the others are waiting for it
        chosen["setup"] = [
            f'export {MINUTES}={chosen["timeout_min"]} {BEGAN}="$(date +%s)"',
            *(settings["setup"] or []),
            "export SLURM_KILL_BAD_EXIT=1",
            # srun of Slurm 22.05 to 23.02 does not take over what sbatch was asked for
            '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        ]
        # Clusters with JobRequeue=0 would end a task at preemption or at its time limit.
        chosen["additional_parameters"] = {"requeue": True, **(settings["additional_parameters"] or {})}
    return {name: value for name, value in chosen.items() if name not in ("_target_", "submitit_folder")}
