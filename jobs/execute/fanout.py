"""Has a launcher work through what is left of some runs: what is nobody's is cut into tasks, started and waited for."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.base.errors import BadInput
from jobs.execute.launch import Launcher
from jobs.execute.launches import InQueue, Launch, spelled
from jobs.execute.plan import Unmade, plan_tasks
from jobs.execute.work import AnyWork
from jobs.report.progress import Progress
from jobs.store.journal import journals


@dataclass(frozen=True)
class Outcome:
    """What came of a command with ``-m``.

    Attributes:
        asked: of each run, the shards that were unfinished when it began.
        problems: what went wrong, beside what the files of the runs tell.
        forward: whether anything was made.
    """

    asked: list[list[int]]
    problems: list[str]
    forward: bool


def work_through(launcher: Launcher, runs: Sequence[AnyWork]) -> Outcome:
    """Start tasks for what is left of runs, and wait for these and for those of earlier commands.

    Args:
        launcher: starts them; it has passed its checks.
        runs: whose directories exist.

    Raises:
        SystemExit: code 1, after a sentence: nothing, or not everything, could be launched.
    """
    with _written(), launcher.alone(runs):
        queued = launcher.queued(runs)
        unmade = find_unmade(runs, queued)
        tasks = plan_tasks(unmade, launcher)
        if queued.tasks:
            print(
                f"{len(queued.tasks)} tasks of an earlier command are still in the queue: waiting for them too",
                flush=True,
            )
        launch = Launch.begin(runs, tasks) if tasks else None
        if launch:
            shards = sum(len(task.shards) for task in tasks)
            print(f"launching {len(tasks)} tasks for {shards} shards; logs: {launch.folder}", flush=True)
        progress = Progress([(one.run, set(one.asked)) for one in unmade])
        before = progress.work()
        finish = launcher.start(unmade, tasks, launch)
    problems = finish()
    return Outcome([one.asked for one in unmade], problems, progress.work() > before)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Make a sentence and code 1 of what goes wrong by now: code 2 says that nothing was written or submitted."""
    try:
        yield
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(
            f"error: not everything could be launched: {error.filename or 'the disk'}: {error.strerror}: "
            "mend that, and start the same command again",
            file=sys.stderr,
        )
        sys.exit(1)


def find_unmade(runs: Sequence[AnyWork], queue: InQueue) -> list[Unmade]:
    """Return what is unfinished of each run, and what of that is nobody's by now."""
    found = []
    for run in runs:
        own = spelled(run.directory.path)
        busy = {shard for task in queue.tasks if task.run == own for shard in task.shards}
        for journal in journals(run.directory):
            job = journal.header["slurm_job"]
            # The queue knows at once that a task was killed on another node; the heartbeat's age only later.
            if journal.alive() and (not job or queue.jobs is None or job in queue.jobs):
                busy.add(journal.header["shard"])
        asked = run.unfinished()
        found.append(Unmade(run, asked, [shard for shard in asked if shard not in busy]))
    return found
