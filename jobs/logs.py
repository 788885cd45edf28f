"""Show the failing part of the right log: ``python -m jobs.logs RUN [SHARD]``. Reads files only.

With a shard: the log of whoever was at it last, also if nothing failed there. Without: the logs of what failed last.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from jobs.base.errors import BadInput, refuse
from jobs.dataset.shards import shard_name
from jobs.execute.excerpt import failing_part
from jobs.execute.launches import Launch, launches_of, spelled
from jobs.report.status import read_status
from jobs.store.journal import journals
from jobs.store.mirror import working_directory
from jobs.store.rundir import RunDir

MOST = 3  # logs that are shown


def main() -> None:
    """Print them. Exit code 0: something was shown; 1: there is no log; 2: there is no such run or shard."""
    parser = argparse.ArgumentParser(prog="python -m jobs.logs", description=__doc__)
    parser.add_argument("run", help="a run's directory, such as outputs/demo-shapes")
    parser.add_argument("shard", type=int, nargs="?", help="a shard's number")
    arguments = parser.parse_args()
    try:
        run = RunDir(working_directory(arguments.run))
        shards = run.read()["shards"]
        if arguments.shard is not None and not 0 <= arguments.shard < shards:
            raise BadInput(f"{run.path} has the shards 0 to {shards - 1}, not {arguments.shard}")
        logs = logs_of(run, arguments.shard)
    except BadInput as error:
        refuse(str(error))
    for log, why in logs.items():
        print(f"==> {log}{f' ({why})' if why else ''}")
        print("\n".join(failing_part(log) or ["(it is empty or missing)"]), flush=True)
    if not logs:
        print(no_logs(run, arguments.shard))
    sys.exit(0 if logs else 1)


def logs_of(run: RunDir, shard: int | None) -> dict[Path, str]:
    """Return the logs to show, the latest first, and what failed there as far as the run's files tell."""
    failures = [one for one in read_status(run).failures if shard in (None, one["shard"])]
    found = {Path(one["log"]): f"shard {shard_name(one['shard'])}: {one['reason']}" for one in failures}
    found = {log: found[log] for log in _latest_first(found) if log.suffix != ".parquet"}
    if shard is not None and not found:
        found = {Path(journal.header["log"]): "" for journal in reversed(list(journals(run, shard)))}
    if not found:  # a task may have ended before our program began
        launches = launches_of([run.path]).values()
        started = [log for launch in launches for log in _task_logs(run, launch, shard)]
        found = dict.fromkeys(_latest_first(started), "")
    return dict(list(found.items())[:MOST])


def no_logs(run: RunDir, shard: int | None) -> str:
    """Return why there is no log to show."""
    if shard is not None:
        done = f"shard {shard} is done; the logs of this machine's processes lie in {run.logs}"
        return done if run.is_done(shard) else "nobody has been at this shard"
    if given_up := read_status(run).samples_failed:
        return f"nothing is failing; why {given_up:,} samples were given up is told by python -m jobs.status {run.path}"
    return "nothing has failed"


def _latest_first(logs: Iterable[Path]) -> list[Path]:
    """Sort logs by when they were written last; missing ones come last."""

    def written(log: Path) -> float:
        try:
            return log.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(logs, key=written, reverse=True)


def _task_logs(run: RunDir, launch: Launch, shard: int | None) -> list[Path]:
    """Return the logs of a launch's tasks that have a shard (or any shard that is not done)."""
    own, done = spelled(run.path), run.done_shards()
    logs = []
    for path, number in launch.logs().items():
        if launch.listing[number]["run"] != own:
            continue
        shards = set(launch.shards(number))
        if shard in shards or (shard is None and shards - done):
            logs.append(path)
    return logs


if __name__ == "__main__":
    main()
