"""What a task asks of the cluster where the command line does not say: CPUs, memory, time, and how many shards."""

import math
from typing import Any

from jobs.base.errors import BadInput
from jobs.base.times import GENERATES
from jobs.execute.machines import Machine
from jobs.execute.shape import Shape
from jobs.execute.timings import LOAD_AT_LEAST, Timing, timing_of
from jobs.execute.work import AnyWork
from jobs.model.weights import weight_bytes
from jobs.run.run import Run

ENCODING_CPUS = 3  # beside a worker's GPU, which would wait for fewer (jobs.store.writer)
WORKER_GB = 4.0  # of main memory, beside the weights: libraries, encoding, samples in flight
SLACK = 1.5  # by which a task may take longer than expected before its time limit
LEAST_MINUTES = 60


def shards_per_task(run: AnyWork, shape: Shape) -> int:
    """Return how many shards a task should have: enough to generate for half an hour.

    To generate with a model that needs no GPU it is one for each worker: loading costs nobody anything then.
    """
    timing = _timing(run)
    if timing is None or not timing.sample:
        return shape.at_once
    shards = GENERATES / (timing.sample * run.layout.shard_size)
    return shape.at_once * max(1, math.ceil(shards))


def asked(settings: dict[str, Any], given: set[str], run: AnyWork, shape: Shape, machine: Machine) -> dict[str, Any]:
    """Return settings of the launcher that fit the run.

    Args:
        settings: the launcher's; what is ``given`` of them is not touched.
        given: names of those that the command line sets.
        run: the run.
        shape: of the task.
        machine: bounds what is asked for here.

    Returns:
        cpus_per_task, mem_gb and timeout_min, as far as they are open.

    Raises:
        BadInput: the time limit given is too short for a single batch.
    """
    options, timing = run.options, _timing(run)
    if "timeout_min" in given and isinstance(run, Run) and timing and timing.measured:
        _check_fits(settings["timeout_min"], run, timing)
    own: dict[str, Any] = {}
    ranks = shape.workers if shape.tasks_per_node > 1 else shape.workers * options.parallel.size
    if not {"cpus_per_task", "cpus_per_gpu"} & given:
        encoding = ENCODING_CPUS if options.model.gpus else 0
        cpus = ranks * options.cpu_threads + shape.workers * encoding
        own["cpus_per_task"] = min(cpus, (machine.cpus or cpus) // shape.tasks_per_node or 1)
    if not {"mem_gb", "mem_per_gpu", "mem_per_cpu"} & given:
        memory = _memory(run, shape.tasks_per_node * ranks)
        own["mem_gb"] = min(memory, machine.memory_gb or memory)
    if "timeout_min" not in given:
        minutes = _minutes(run, shape, timing)
        own["timeout_min"] = min(minutes, machine.minutes or minutes)
    return own


def _timing(run: AnyWork) -> Timing | None:
    """Return what a sample takes, where that is worth knowing: on a GPU, or of work that is mostly reading."""
    if not isinstance(run, Run):
        return Timing(run.sample_seconds, LOAD_AT_LEAST, measured=False)
    return timing_of(run) if run.options.model.gpus else None


def _memory(run: AnyWork, processes: int) -> int:
    """Return gigabytes of main memory for so many processes on a node."""
    weights = (weight_bytes(run.checkpoint) if isinstance(run, Run) else run.weight_bytes) / 1e9
    on_gpu = run.options.model.gpus and run.options.model.offload == "none"
    # On their way to a GPU the weights are in main memory of one process after another (jobs.model.load).
    copies = 1 if on_gpu else processes
    return math.ceil(1.2 * weights * copies + WORKER_GB * processes)


def _minutes(run: AnyWork, shape: Shape, timing: Timing | None) -> int:
    if timing is None:
        return LEAST_MINUTES
    shards = run.options.shards_per_task or shards_per_task(run, shape)
    turns = math.ceil(shards / shape.at_once)
    seconds = timing.load + turns * run.layout.shard_size * timing.sample
    return max(LEAST_MINUTES, math.ceil(SLACK * seconds / 60))


def _check_fits(minutes: int, run: Run, timing: Timing) -> None:
    needed = timing.load + timing.batch(run)
    if needed > 60 * minutes:
        raise BadInput(
            f"hydra.launcher.timeout_min={minutes} is too short: loading took {timing.load:.0f} seconds and a batch "
            f"{timing.batch(run):.0f}; make it at least {math.ceil(SLACK * needed / 60)}"
        )
