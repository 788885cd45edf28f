"""What is done, running, failed and left of a run: ``python -m jobs.status RUN``. Read from its files.

Where Slurm is at hand it also says what the tasks in the queue wait for.
"""

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict

from jobs.base.errors import BadInput, refuse
from jobs.base.times import BRIEF, QUEUE
from jobs.execute.inqueue import ask
from jobs.execute.launches import launches_of
from jobs.execute.pending import never, nothing_runs, reasons
from jobs.report.ledger import read_ledger, render_ledger
from jobs.report.live import standing
from jobs.report.status import Status, read_status, render
from jobs.store.mirror import opened
from jobs.store.rundir import RunDir


def main() -> None:
    """Print the status. Exit code 0 when every shard is done, 1 when not, 2 when there is no run."""
    parser = argparse.ArgumentParser(prog="python -m jobs.status", description=__doc__)
    parser.add_argument("run", help="a run's directory, such as outputs/demo-shapes, or its address in a store")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--watch", action="store_true", help="again and again, until every shard is done")
    parser.add_argument("--ledger", action="store_true", help="where the seconds of GPUs went, and what samples cost")
    arguments = parser.parse_args()
    try:
        while True:
            with opened(arguments.run) as run:
                status = show(run, arguments)
            if status.done == status.shards or not arguments.watch:
                break
            time.sleep(QUEUE)
    except BadInput as error:
        refuse(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if status.done == status.shards else 1)


def show(run: RunDir, arguments: argparse.Namespace) -> Status:
    """Print the status once, and return it."""
    status = read_status(run)
    ledger = read_ledger(run) if arguments.ledger else None
    if arguments.json:
        lines = [json.dumps({**asdict(status), **({"ledger": asdict(ledger)} if ledger else {})}, indent=2)]
    else:
        lines = [render(run.name, status), *([render_ledger(ledger)] if ledger else [])]
    clear = "\033[H\033[J" if arguments.watch and sys.stdout.isatty() else ""
    print(clear + "\n".join(lines), flush=True)
    if not arguments.json:  # after what the files tell, since it may take a while
        for line in in_queue(run):
            print(line, flush=True)
    return status


def in_queue(run: RunDir) -> list[str]:
    """Return lines about the run's tasks in the queue; none where there is no Slurm or the run was never launched."""
    launches = launches_of([run.path])
    if not launches or not shutil.which("squeue"):
        return []
    answer = ask([run.path], launches, BRIEF)
    if answer is None:
        return ["  queue    Slurm does not answer"]
    tasks = answer[1].tasks
    if not tasks:
        return []
    pending = reasons(tasks)
    alone = nothing_runs(answer[0])
    blocked = {reason: why for reason in pending if (why := never(reason, alone))}
    lines = [f"  queue    {standing(len(tasks) - pending.total(), pending, 0)}"]
    return [*lines, *(f"  blocked  {pending[reason]} tasks ({reason}): {why}" for reason, why in blocked.items())]


if __name__ == "__main__":
    main()
