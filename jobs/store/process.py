"""Who a process is, so that another one can tell whether it still lives."""

import os
import socket
from pathlib import Path
from typing import Any

_CLOCK = 2.0  # seconds by which two processes may see the same start differently, after the clock was set


def _host() -> str:
    """Name this machine and its process numbering: after a reboot or in another container pids mean nothing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = namespace = ""
    return f"{socket.gethostname()}/{boot}/{namespace}"


HOST = _host()


def process_identity(pid: int) -> dict[str, Any] | None:
    """Return host, pid and start time of a process of this machine; None when there is none (a zombie is none)."""
    import psutil  # not above: who knows that there is no process to ask about need not wait for it

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return {"host": HOST, "pid": pid, "created": process.create_time()}
    except psutil.NoSuchProcess:
        return None


def lives_here(identity: dict[str, Any]) -> bool | None:
    """Return whether the process that had this identity lives; None where only its own machine can tell."""
    if identity["host"] != HOST:
        return None
    now = process_identity(identity["pid"])
    return now is not None and abs(now["created"] - identity.get("created", 0)) < _CLOCK


def slurm_job() -> str:
    """Return this process's job id as squeue shows it (``123_4`` for an array task), or "" outside Slurm."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")
