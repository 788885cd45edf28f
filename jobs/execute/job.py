"""What each task of a Slurm array runs: ``python -m jobs.execute.job FOLDER SERIAL OFFSET``.

Everything that it needs lies in the launch's folder before sbatch is called, so that tasks start whatever became of the
command that submitted them. Exit code 0: all of the task's shards are done; 1: something is left, see its log.
"""

import logging
import os
import sys
from pathlib import Path

from jobs.base.errors import Unfinished
from jobs.execute.launches import Launch
from jobs.execute.logs import start_logging


def main() -> None:
    """Find the task and run it."""
    folder, serial, offset = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    array, index = os.environ["SLURM_ARRAY_JOB_ID"], int(os.environ["SLURM_ARRAY_TASK_ID"])
    os.environ["SUBMITIT_FOLDER"] = str(folder)  # by it Submitit knows where this job's log is
    start_logging()
    launch = Launch(folder)
    if not launch.claim(serial, array):
        logging.warning("another array has these tasks: Slurm took this submission twice, and there is nothing to do")
        return
    try:
        launch.task(offset + index)()
    except Unfinished as error:
        logging.error("left over: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
