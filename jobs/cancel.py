"""Take a run's tasks out of the queue, and end those that run: ``python -m jobs.cancel RUN``.

Only tasks of this run: an array of a sweep has tasks of other runs too, and they stay. What was made so far stays, and
the same ``jobs.generate`` command goes on from there. A command that waits for the run submits nothing more of it.
Exit code 0: none of its tasks is in the queue any more; 1: some still are; 2: there is no such run, or no answer.
"""

import argparse
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
from jobs.store.rundir import RunDir


def main() -> None:
    """Cancel, and wait until the tasks are gone."""
    parser = argparse.ArgumentParser(prog="python -m jobs.cancel", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's directory, such as outputs/demo-shapes")
    run = RunDir(parser.parse_args().run)
    try:
        run.read()
        queue.require()
        with submitting([run.path], print):
            run.cancel()
            _, found = find_out([run.path], print)
            said = _scancel(found.tasks)
    except BadInput as error:
        refuse(str(error))
    running = sum(task.job.state != "PENDING" for task in found.tasks)
    print(f"{run.path}: cancelled {len(found.tasks) - running} pending and {running} running tasks", flush=True)
    left = _left(run, found.tasks)
    if left:
        print(f"{left} tasks are still in the queue{f': {said}' if said else ', on their way out'}")
    sys.exit(1 if left else 0)


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
    except subprocess.TimeoutExpired:
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
