"""What keeps hundreds of tasks that start together from hitting the same files at once."""

import hashlib
import os
import time

from jobs.base.node import node_folder
from jobs.store.process import slurm_job

A_SECOND = 20  # tasks that may start in one
LONGEST = 30.0  # seconds that a GPU may be kept waiting for that


def prepare(*, wait: bool = True) -> None:
    """Set up this process and those that it will start, and wait for its turn.

    The hub is not asked for anything: what a task needs was checked when it was submitted. Compiled kernels are kept on
    this machine, since a shared home directory is slow and not made for many writers; the libraries write them under
    another name first, so that processes may share a directory.

    Args:
        wait: whether this process is the one that waits.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    if folder := node_folder():
        for name, kind in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
            os.environ.setdefault(name, str(folder / kind))
    if wait:
        time.sleep(delay(slurm_job(), int(os.environ.get("SLURM_ARRAY_TASK_COUNT", "1"))))


def delay(job: str, tasks: int) -> float:
    """Return the seconds after which a task of an array begins, spread evenly; none in a small array.

    Args:
        job: its id.
        tasks: of the array.
    """
    if tasks <= A_SECOND:
        return 0.0
    share = int.from_bytes(hashlib.sha256(job.encode()).digest()[:4], "big") / 2**32
    return share * min(tasks / A_SECOND, LONGEST)
