"""What Slurm is asked: whether it answers, which of our jobs are in its queue, and how large its nodes are."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from jobs.base.errors import BadInput
from jobs.base.times import ANSWER
from jobs.execute.steering import to_ask

# What names the cluster itself; everything else of an allocation is that allocation's own.
CLUSTER_VARIABLES = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")
NO_ANSWER = "Slurm's queue does not answer (squeue)"


class Job(NamedTuple):
    """One job, or one task of an array, that is pending, running or completing.

    Attributes:
        array: job id, for tasks of an array the array's.
        task: index in the array; None for a job that is none.
        state: Slurm's word, such as PENDING.
        reason: Slurm's reason why a pending one does not run.
        node: where it runs, or its first node; "" while it is pending.
        throttle: most tasks of this array at once, where the queue says it (for pending ones).
        name: of the job.
    """

    array: str
    task: int | None
    state: str
    reason: str
    node: str
    throttle: int | None
    name: str

    @property
    def id(self) -> str:
        """As Slurm's commands take it: ``123_4`` for a task of an array."""
        return self.array if self.task is None else f"{self.array}_{self.task}"


def ask(*command: str, within: float = ANSWER) -> str | None:
    """Return the output of a Slurm command; None when it is missing, fails, or does not answer within some seconds."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=within, env=to_ask(os.environ))
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None


def user_name(uid: int) -> str:
    """Return a user's name; "" where it has none, as in some containers."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def require() -> None:
    """Refuse early where no job can be submitted.

    Raises:
        BadInput: Slurm's commands are missing, or its controller does not answer.
    """
    if not shutil.which("sbatch"):
        raise BadInput(
            "hydra/launcher=submitit_slurm needs Slurm's sbatch, which is not on PATH: "
            "submit from a login node, or use hydra/launcher=submitit_local"
        )
    if ask("scontrol", "ping") is None:
        raise BadInput(
            "Slurm's controller does not answer (scontrol ping): try again when it is up, or check SLURM_CONF"
        )


def look(owners: Iterable[int] = (), within: float = ANSWER) -> list[Job] | None:
    """Return this user's jobs that are in the queue, by one call of squeue whatever their number.

    Args:
        owners: further users whose jobs are looked for; several people may work at one run.
        within: seconds that the controller may take.

    Returns:
        None when the controller does not answer, which says nothing about the jobs.
    """
    others = [name for uid in set(owners) - {os.getuid()} if (name := user_name(uid))]
    whose = f"--user={','.join([user_name(os.getuid()), *others])}" if others else "--me"
    listing = ask("squeue", "--noheader", whose, "--all", "--format=%i|%T|%r|%B|%j", within=within)
    return None if listing is None else read_queue(listing)


def read_queue(listing: str) -> list[Job]:
    """Read lines of ``%i|%T|%r|%B|%j``; the pending tasks of an array share one, as ``12_[3-9,20%4]|...``."""
    jobs = []
    for line in map(str.strip, listing.splitlines()):
        if line.count("|") < 4:  # a headline of several clusters, or nothing
            continue
        job, state, reason, node, name = line.split("|", 4)
        node = "" if node.lower() == "n/a" else node
        array, _, tasks = job.partition("_")
        numbers, _, throttle = tasks.strip("[]").partition("%")
        most = int(throttle) if throttle else None
        indices = expand(numbers) if tasks else [None]
        jobs += [Job(array, index, state, reason, node, most, name) for index in indices]
    return jobs


def expand(numbers: str) -> list[int]:
    """``0-2,7,10-14:2`` -> 0, 1, 2, 7, 10, 12, 14, as Slurm writes the tasks of an array."""
    found: list[int] = []
    for part in numbers.split(","):
        bounds, _, step = part.partition(":")
        first, _, last = bounds.partition("-")
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return found


def of_partition(partition: str | None) -> list[str]:
    """Return the options by which sinfo tells of a partition alone; none where none is named.

    So named, a hidden one is told of too; with ``--all`` beside it sinfo refuses to answer.
    """
    return [f"--partition={partition}"] if partition else []


def gpu_types(partition: str | None) -> list[str]:
    """Return what Slurm calls the GPUs of the nodes of a partition, or of all: "" where it has no name for them."""
    return sorted({*re.findall(r"\bgpu:(?:([^\s:,(]+):)?\d", _listed_gpus(partition))})


def node_gpus(partition: str | None) -> int | None:
    """Return the GPUs of the node that has most, in the partition or in all; None where none are listed."""
    lines = _listed_gpus(partition).splitlines()
    return max((sum(map(int, re.findall(r"\bgpu(?::[^:,(]+)?:(\d+)", line))) for line in lines), default=0) or None


def _listed_gpus(partition: str | None) -> str:
    return ask("sinfo", "--noheader", "--format=%G", *of_partition(partition)) or ""


def nodes(partition: str | None) -> set[str]:
    """Return the nodes of a partition, or of the default one; empty when Slurm does not tell."""
    lines = (ask("sinfo", "--noheader", "--Node", "--format=%N %P", *of_partition(partition)) or "").splitlines()
    return {line.split()[0] for line in lines if partition or line.endswith("*")}


def drop_allocation_variables() -> None:
    """Forget the ``SLURM_*`` of an interactive allocation, so that jobs submitted from inside it do not inherit them.

    An inherited SLURM_CPU_BIND pins every task to the wrong cores. What names the cluster itself stays.
    """
    for name in list(os.environ):
        if name.startswith("SLURM_") and name not in CLUSTER_VARIABLES:
            del os.environ[name]
