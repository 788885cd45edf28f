"""Which tasks of a launch have come to their work: marks that they leave once the model is loaded.

    logs/launch-20261125-120000-123456/begun/12_3@node1     empty; task 12_3, on that node

A task that fails without one may have failed because of its node.
"""

import contextlib
import os
from pathlib import Path

from jobs.store.process import slurm_job

FOLDER = "begun"


def mark_begun() -> None:
    """Leave the mark of this process's task; nothing where it is not one of a launch on a cluster."""
    folder, node, job = os.environ.get("SUBMITIT_FOLDER"), os.environ.get("SLURMD_NODENAME"), slurm_job()
    if folder and node and job:
        path = Path(folder, FOLDER, f"{job}@{node}")
        with contextlib.suppress(OSError):  # what else the disk does not take tells of it
            path.parent.mkdir(exist_ok=True)
            path.touch()


def begun(launch: Path) -> set[tuple[str, str]]:
    """Return the (job, node) of the tasks of a launch that have come to their work."""
    try:
        names = os.listdir(launch / FOLDER)
    except FileNotFoundError:
        return set()
    return {(job, node) for job, _, node in (name.partition("@") for name in names)}
