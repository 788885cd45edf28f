"""What a task asks the cluster for: from the launcher's settings and the run, and what does not fit together."""

from collections.abc import Sequence
from typing import Any, Protocol

from jobs.base.errors import BadInput
from jobs.execute import queue
from jobs.execute.asks import asked
from jobs.execute.halt import BEGAN, MINUTES
from jobs.execute.machines import largest_machine
from jobs.execute.shape import shape_of
from jobs.execute.work import AnyWork

GPUS = {"gpus_per_node", "gpus_per_task", "gres"}  # the ways to ask for them
SIGNAL = 30  # seconds before a long time limit at which Slurm sends SIGUSR2; it may do so a minute earlier


class Launched(Protocol):
    """The part of a launcher that resources depend on."""

    settings: dict[str, Any]
    given: set[str]


def check_resources(launcher: Launched, runs: Sequence[AnyWork]) -> None:
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
    if nodes > 1 and size == 1:
        raise BadInput(
            f"hydra.launcher.nodes={nodes} is for samples that ranks on several nodes share (parallel.ulysses, ...): "
            "leave it out, since tasks spread over the nodes by themselves"
        )
    if size % nodes:
        raise BadInput(
            f"hydra.launcher.nodes={nodes} does not divide the {size} ranks of {degrees}: "
            "let the degrees' product be a multiple of the nodes"
        )
    if not on_slurm:
        tasks = settings["tasks_per_node"] if "tasks_per_node" in launcher.given else None
        if tasks not in (None, size):
            raise BadInput(
                f"hydra.launcher.tasks_per_node={tasks} makes {tasks} ranks, and {degrees} needs {size}: "
                "leave tasks_per_node out"
            )
        return
    for run in runs:
        shape_of(settings, launcher.given, run.options)
    if size > 1:
        _check_gpus(launcher, runs)


def check_leaving(settings: dict[str, Any], runs: Sequence[AnyWork]) -> None:
    """Refuse to leave tasks to a cluster where there is none.

    Args:
        settings: the launcher's; none of a command without ``-m``.
        runs: of the command.

    Raises:
        BadInput: names the option.
    """
    if "setup" not in settings and not all(run.options.wait for run in runs):
        raise BadInput(
            "wait=false returns once a cluster has the tasks: add -m hydra/launcher=submitit_slurm, or leave it out"
        )


def _check_time(settings: dict[str, Any], given: set[str]) -> None:
    minutes, signal = settings["timeout_min"], settings["signal_delay_s"] if "signal_delay_s" in given else 0
    if minutes < 1:
        raise BadInput(f"hydra.launcher.timeout_min={minutes} must be at least 1: a task has to load the model first")
    if signal >= 60 * minutes:
        raise BadInput(
            f"hydra.launcher.signal_delay_s={signal} is not below hydra.launcher.timeout_min={minutes}, "
            f"which is {60 * minutes} seconds: leave it out"
        )


def _check_gpus(launcher: Launched, runs: Sequence[AnyWork]) -> None:
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


def check_nodes(asked: dict[str, Any]) -> None:
    """Refuse what no node of the partition has, be it up or down: Slurm takes such jobs, and they wait for ever.

    Args:
        asked: the settings to submit with.

    Raises:
        BadInput: names the setting, and what the largest node has.
    """
    partition = asked["partition"]
    machine, tasks = largest_machine(partition), asked["tasks_per_node"] or 1
    for name, each, there, what in (
        ("cpus_per_task", tasks, machine.cpus, "CPUs"),
        ("mem_gb", 1, machine.memory_gb, "GB of memory"),
        ("gpus_per_node", 1, queue.node_gpus(partition), "GPUs"),
    ):
        wanted = asked[name]
        if wanted and there and wanted * each > there:
            on_node = f" for each of {tasks} tasks on a node" if each > 1 else ""
            where = f"partition {partition}" if partition else "the default partition"
            raise BadInput(
                f"hydra.launcher.{name}={wanted}{on_node} is more than any node of {where} has, which is {there} "
                f"{what}: ask for less, or for another hydra.launcher.partition"
            )


def submission(settings: dict[str, Any], given: set[str], runs: Sequence[AnyWork], job_name: str) -> dict[str, Any]:
    """Return the settings to submit with; what the command line gives stays as it is.

    Args:
        settings: the launcher's.
        given: names of those that the command line sets.
        runs: whose tasks they are; all have the same ``parallel``.
        job_name: name of the jobs.

    Raises:
        BadInput: what is given does not do for these runs.
    """
    if "setup" in settings:
        chosen = _on_slurm(settings, given, runs)
    else:
        chosen = {"tasks_per_node": runs[0].options.parallel.size, **_given(settings, given)}
    chosen = {**settings, **chosen, "name": job_name}
    return {name: value for name, value in chosen.items() if name not in ("_target_", "submitit_folder")}


def _on_slurm(settings: dict[str, Any], given: set[str], runs: Sequence[AnyWork]) -> dict[str, Any]:
    machine = largest_machine(settings["partition"])
    each = []
    for run in runs:
        shape = shape_of(settings, given, run.options)
        each.append(
            {
                "tasks_per_node": shape.tasks_per_node,
                **({"gpus_per_node": shape.gpus_per_node} if shape.gpus_per_node and not GPUS & given else {}),
                **asked(settings, given, run, shape, machine),
            }
        )
    wanted: dict[str, Any] = {}
    for one in each:  # all tasks of an array are asked for alike
        wanted = {name: max(value, wanted.get(name, 0)) for name, value in one.items()}
    wanted |= _given(settings, given)
    minutes = wanted["timeout_min"]
    # A task looks at the clock itself; the signal is for one that did not hear of its limit.
    wanted.setdefault("signal_delay_s", min(SIGNAL, 60 * minutes // 10))
    wanted["setup"] = [
        f'export {MINUTES}={minutes} {BEGAN}="$(date +%s)"',
        *(settings["setup"] or []),
        "export SLURM_KILL_BAD_EXIT=1",  # one rank's end is the task's: the others are waiting for it
        # srun of Slurm 22.05 to 23.02 does not take over what sbatch was asked for
        '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
    ]
    # Clusters with JobRequeue=0 would end a task at preemption or at its time limit.
    wanted["additional_parameters"] = {"requeue": True, **(settings["additional_parameters"] or {})}
    return wanted


def _given(settings: dict[str, Any], given: set[str]) -> dict[str, Any]:
    return {name: settings[name] for name in given if name in settings}
