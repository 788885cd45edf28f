"""Which torch devices this machine's workers, or a task's ranks, compute on."""

import os
from pathlib import Path

from jobs.base.errors import BadInput
from jobs.options.schema import Options

# What the drivers of GPUs make: NVIDIA's, also on boards of its own and below Windows, and AMD's.
_DRIVERS = ("nvidia*", "nvhost*", "dxg", "kfd")


def worker_devices(options: Options) -> list[list[str]]:
    """Return the torch devices of each of this machine's workers: one of each rank that shares its samples.

    Raises:
        BadInput: more of them than GPUs (on a CPU: than cores), or what the device cannot do.
    """
    gpus = _visible_gpus(options)
    if gpus:
        kind, there, devices = "GPUs visible", gpus, [f"cuda:{number}" for number in range(options.ngpu)]
    else:
        check_cpu(options)
        kind, there, devices = "cores", len(os.sched_getaffinity(0)), ["cpu"] * options.ngpu
    size = options.parallel.size
    if options.ngpu > there:
        if there < size:
            raise BadInput(
                f"{options.parallel} needs {size} ranks and there are {there} {kind} here: use lower degrees"
            )
        least = there // size * size
        raise BadInput(f"ngpu={options.ngpu} is more than the {there} {kind} here: set ngpu={least} or less")
    return [devices[start : start + size] for start in range(0, options.ngpu, size)]


def task_workers(options: Options, number: int, workers: int = 1) -> list[list[str]]:
    """Return the torch devices of each of a task's workers: Slurm shows a task its own GPUs, other launchers all.

    Args:
        options: the run's.
        number: of the task among those that share the machine's GPUs.
        workers: of the task.

    Raises:
        BadInput: as ``worker_devices``.
    """
    size = options.parallel.size
    gpus = _visible_gpus(options)
    if not gpus:
        check_cpu(options)
        return [["cpu"] * size] * workers
    ranks = [f"cuda:{(number * workers * size + rank) % gpus}" for rank in range(workers * size)]
    return [ranks[start : start + size] for start in range(0, len(ranks), size)]


def rank_device(options: Options, number: int) -> str:
    """Return the torch device of a rank that a launcher started, by its number on this machine.

    Raises:
        BadInput: as ``worker_devices``.
    """
    gpus = _visible_gpus(options)
    if not gpus:
        check_cpu(options)
        return "cpu"
    return f"cuda:{number % gpus}"


def _visible_gpus(options: Options) -> int:
    if options.device == "cpu":
        return 0
    gpus = _count_gpus()
    if options.device == "cuda" and not gpus:
        raise BadInput("device=cuda, but no GPU is visible here: use device=cpu, or run on a machine with a GPU")
    if options.device == "auto" and options.model.gpus and not gpus:
        raise BadInput(
            f"model {options.model.name} needs a GPU and none is visible here: use device=cpu to run on the CPU anyway"
        )
    return gpus


def _count_gpus(drivers: Path = Path("/dev")) -> int:
    """Return the number of GPUs that torch sees: without a driver none, and importing torch takes seconds."""
    if not any(any(drivers.glob(name)) for name in _DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def check_cpu(options: Options) -> None:
    """Refuse what a CPU cannot do: float16, offloading to itself, and ring attention.

    Raises:
        BadInput: names the option.
    """
    if options.parallel.ring > 1:
        raise BadInput(
            f"parallel.ring={options.parallel.ring} needs attention kernels that only GPUs have: "
            "use parallel.ulysses on a CPU"
        )
    for name in ("dtype", "vae_dtype"):
        if getattr(options.model, name) == "float16":
            raise BadInput(f"model.{name}=float16 does not work on a CPU: use model.{name}=float32 or bfloat16")
    if options.model.offload != "none":
        raise BadInput("model.offload keeps weights off a GPU, and there is none: use model.offload=none")
