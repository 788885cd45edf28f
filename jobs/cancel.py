"""Take a run's tasks out of the queue, and end those that run: ``python -m jobs.cancel RUN``.

Only tasks of this run: an array of a sweep has tasks of other runs too, and they stay. What was made so far stays, and
the same ``jobs.generate`` command goes on from there. A command that waits for the run submits nothing more of it.
Exit code 0: none of its tasks is in the queue any more; 1: some still are; 2: there is no such run, or no answer.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from jobs.base.errors import BadInput, refuse
from jobs.base.times import ANSWER, ENDS, POLL
from jobs.dataset.shards import format_shards
from jobs.execute import queue
from jobs.execute.inqueue import ask, find_out
from jobs.execute.launches import Queued, launches_of
from jobs.execute.lock import submitting
from jobs.execute.steering import to_ask
from jobs.store.mirror import working_directory
from jobs.store.rundir import RunDir


def main() -> None:
    """Cancel, and wait until the tasks are gone."""
    parser = argparse.ArgumentParser(prog="python -m jobs.cancel", description=__doc__)
    parser.add_argument("run", help="a run's directory, such as outputs/demo-shapes")
    place = parser.parse_args().run
    try:
        run = RunDir(working_directory(place))
        run.read()
        queue.require()
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(submitting([run.path], print))
                run.cancel()
            except OSError as error:  # a full disk must keep nobody from this
                print(
                    f"{error.filename or run.path}: {error.strerror}: a command that waits for this run cannot be told "
                    "that it was cancelled, and may submit more tasks: end it"
                )
            _, found = find_out([run.path], print)
            said = _scancel(found.tasks)
    except BadInput as error:
        refuse(str(error))
    left = _left(run, found.tasks)
    print(outcome(run.path, found.tasks, left, said))
    sys.exit(1 if left else 0)


def outcome(run: Path, tasks: list[Queued], left: int, said: str) -> str:
    """Return in words what came of a cancelling.

    Args:
        run: the run's directory.
        tasks: that were in the queue.
        left: how many of them still are.
        said: what scancel has against it.
    """
    if left and said:
        return f"{run}: {left} of {len(tasks)} tasks are still in the queue: {said}"
    running = sum(task.job.state != "PENDING" for task in tasks)
    also = f"; {left} of them are still in the queue, on their way out" if left else ""
    return f"{run}: cancelled {len(tasks) - running} pending and {running} running tasks{also}"


def _scancel(tasks: list[Queued]) -> str:
    """Cancel tasks by their places in their arrays; returns what scancel has against it."""
    arrays: dict[str, list[int]] = defaultdict(list)
    for task in tasks:
        arrays[task.job.array] += [] if task.job.task is None else [task.job.task]
    jobs = [f"{array}_[{format_shards(sorted(own))}]" if own else array for array, own in arrays.items()]
    if not jobs:
        return ""
    try:
        answer = subprocess.run(
            ["scancel", *jobs], capture_output=True, text=True, timeout=ANSWER, env=to_ask(os.environ)
        )
    except (OSError, subprocess.TimeoutExpired):
        return "scancel gave no answer"
    return " ".join(answer.stderr.split())


def _left(run: RunDir, tasks: list[Queued]) -> int:
    """Wait until cancelled tasks have left the queue, for a while; returns how many have not."""
    left, deadline = len(tasks), time.monotonic() + 5 * ENDS  # Slurm gives a task half a minute between TERM and KILL
    while left and time.monotonic() < deadline:
        time.sleep(POLL)
        answer = ask([run.path], launches_of([run.path]))
        left = len(answer[1].tasks) if answer else left
    return left


if __name__ == "__main__":
    main()
