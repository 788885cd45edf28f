"""Where a process's words go."""

import logging
import os
import time

from jobs.run.work import Work


def start_logging() -> None:
    """Log to standard error with times and levels."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)


def redirect_output(log_path: str) -> None:
    """Send this process's output, libraries' included, to its log file."""
    file = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    start_logging()


def task_log(run: Work) -> str:
    """Start logging and return where the log is; a submitit job already has one, others get a file of their own."""
    start_logging()
    if "SUBMITIT_EXECUTOR" in os.environ:
        import submitit

        return str(submitit.JobEnvironment().paths.stderr)
    path = str(run.directory.logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-task.log")
    logging.getLogger().addHandler(logging.FileHandler(path))
    return path
