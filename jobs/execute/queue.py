"""What has to be asked of Slurm: how long an array may be, and which of our jobs are still in the queue."""

import os
import re
import shutil
import subprocess

from jobs.base.errors import BadInput


def _ask(*command: str) -> str | None:
    """Return the output of a Slurm command; None when the controller does not answer."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None


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
    if _ask("scontrol", "ping") is None:
        raise BadInput(
            "Slurm's controller does not answer (scontrol ping): try again when it is up, or check SLURM_CONF"
        )


def array_limit() -> int:
    """Return the most tasks one array may have: the least of MaxArraySize, MaxJobCount and the user's MaxSubmitJobs."""
    config = _ask("scontrol", "show", "config") or ""
    limits = [int(number) for number in re.findall(r"^(?:MaxArraySize|MaxJobCount)\s*=\s*(\d+)", config, re.MULTILINE)]
    user = os.environ.get("USER") or str(os.getuid())
    account = _ask("sacctmgr", "-nP", "show", "assoc", f"user={user}", "format=MaxSubmitJobs") or ""
    limits += [int(line) for line in account.split() if line.isdecimal() and int(line)]
    return min(limits, default=1001)


def node_gpus(partition: str | None) -> int | None:
    """Return the GPUs of the node that has most, in the partition or in all; None where none are listed."""
    chosen = [f"--partition={partition}"] if partition else []
    listing = _ask("sinfo", "--noheader", "--format=%G", *chosen) or ""
    nodes = [sum(map(int, re.findall(r"\bgpu(?::[^:,(]+)?:(\d+)", line))) for line in listing.splitlines()]
    return max(nodes, default=0) or None


def queued_jobs() -> dict[str, str] | None:
    """Return id (``123_4`` for an array task) -> name of this user's jobs that are pending, running or completing.

    Returns:
        None when the controller does not answer.
    """
    listing = _ask("squeue", "--noheader", "--array", "--format=%i %j", f"--user={os.getuid()}")
    return (
        None
        if listing is None
        else dict(line.strip().partition(" ")[::2] for line in listing.splitlines() if line.strip())
    )


def drop_allocation_variables() -> None:
    """Forget the ``SLURM_*`` of an interactive allocation, so that jobs submitted from inside it do not inherit them.

    An inherited SLURM_CPU_BIND pins every task to the wrong cores. What names the cluster itself stays.
    """
    for name in list(os.environ):
        if name.startswith("SLURM_") and name not in ("SLURM_CONF", "SLURM_CLUSTERS"):
            del os.environ[name]
