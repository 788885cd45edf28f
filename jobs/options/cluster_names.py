"""What is said of ``hydra.launcher.*`` options that do not exist, or not for the launcher that was chosen."""

import difflib
from collections.abc import Iterator
from dataclasses import fields

from jobs.options.aliases import bare

PREFIX = "hydra.launcher."
# Option of the launcher -> what Slurm and others call it, without capitals and signs.
ALIASES: dict[str, tuple[str, ...]] = {
    "timeout_min": ("time", "timelimit", "timeout", "walltime", "timemin", "maxtime"),
    "mem_gb": ("mem", "memory", "memgb", "ram"),
    "cpus_per_task": ("cpus", "cpu", "ncpus", "numcpus"),
    "gpus_per_node": ("gpus", "gpu", "ngpu", "gpuspernode"),
    "tasks_per_node": ("tasks", "ntaskspernode", "ntasks"),
    "nodes": ("numnodes", "nnodes"),
    "partition": ("partitions", "queue"),
    "exclude": ("excludenodes", "excluded"),
    "signal_delay_s": ("signal",),
    "array_parallelism": ("parallelism", "maxjobs", "maxparallel", "throttle"),
    "additional_parameters": ("extra", "sbatchargs", "slurmparameters"),
}


def launcher_hint(name: str, value: str | None) -> str | None:
    """Return what to write instead of an option that was meant for the launcher; None where none was.

    Args:
        name: as given, such as "hydra.launcher.mem" or "partition".
        value: what it was to be; None where that is not known.
    """
    inside = name.startswith(PREFIX)
    last, _, part = name.removeprefix(PREFIX).partition(".")
    if inside and last == "additional_parameters":
        return f"add it with '+{name}={'...' if value is None else value}'"
    if part:
        return None
    if inside and last in _names():
        return "hydra/launcher=submitit_slurm has it: add -m hydra/launcher=submitit_slurm"
    meant = next((option for option, names in ALIASES.items() if bare(last) in names), None)
    if not inside:  # of the root only what is called so by Slurm; "time" or "signal" may mean anything
        meant = last if last in _names() else None
    elif meant is None:
        meant = next(iter(difflib.get_close_matches(last, list(_names()), 1, cutoff=0.7)), None)
    return f"did you mean {PREFIX}{meant}={'...' if value is None else value}?" if meant else None


def _names() -> Iterator[str]:
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf

    return (one.name for one in fields(SlurmQueueConf) if one.name not in ("_target_", "name"))
