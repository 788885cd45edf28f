"""The ways to run tasks on this machine: its pool, joblib, and Submitit; on a cluster: ``jobs.execute.slurm``.

Hydra's own launchers compose the configuration again in every task and swallow what a task raises. These take the
same configuration (``hydra.launcher.*``) and hand the resolved run to the task.
"""

import multiprocessing
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from jobs.base.errors import Unfinished, first_line
from jobs.base.times import POLL
from jobs.execute.launches import InQueue, Launch
from jobs.execute.plan import Unmade
from jobs.execute.pool import run_pool
from jobs.execute.resources import submission
from jobs.execute.task import Task
from jobs.execute.work import AnyWork
from jobs.run.devices import worker_devices
from jobs.store.journal import journals


class Launcher(ABC):
    """A way to run tasks.

    Args:
        settings: ``hydra.launcher``, plain.
        given: names of its settings that the command line sets.
    """

    on_this_machine = True

    def __init__(self, settings: dict[str, Any], given: set[str]):
        self.settings, self.given = settings, given

    def require(self) -> None:  # noqa: B027 (most need nothing)
        """Refuse early where nothing can be launched.

        Raises:
            BadInput: what is missing.
        """

    def check(self, runs: Sequence[AnyWork]) -> None:  # noqa: B027
        """Refuse what surely cannot be launched, before anything is written.

        Raises:
            BadInput: what the settings ask for is not to be had.
        """

    def alone(self, runs: Sequence[AnyWork]) -> AbstractContextManager[None]:
        """Hold off other commands that would launch tasks of these runs, whose directories exist."""
        return nullcontext()

    def queued(self, runs: Sequence[AnyWork]) -> InQueue:
        """Return the tasks of these runs that are in a queue, of whatever command.

        Raises:
            BadInput: the queue does not answer.
        """
        return InQueue([], None)

    def at_once(self, run: AnyWork) -> int:
        """Return how many tasks this machine should get."""
        return run.workers

    def workers(self, run: AnyWork) -> int:
        """Return how many workers each process of a task has."""
        return 1

    def shards_per_task(self, run: AnyWork) -> int:
        """Return how many shards a task should have, where nobody says."""
        return 1

    @abstractmethod
    def start(self, unmade: list[Unmade], tasks: list[Task], launch: Launch | None) -> Callable[[], list[str]]:
        """Start the tasks, with other commands held off.

        Args:
            unmade: what the command is for.
            tasks: what to run; empty where only earlier tasks are waited for.
            launch: this launch; None where there are no tasks.

        Returns:
            What waits for them, and for those of earlier launches too, when other commands are not held off any more.
            It returns what went wrong; what the files of the runs tell anyway is not repeated.

        Raises:
            BadInput: nothing could be started.
        """


class Here(Launcher):
    """``basic``: this machine's pool of workers, one run after another."""

    def at_once(self, run: AnyWork) -> int:
        return 1

    def start(self, unmade: list[Unmade], tasks: list[Task], launch: Launch | None) -> Callable[[], list[str]]:
        return partial(self._run, tasks)

    def _run(self, tasks: list[Task]) -> list[str]:
        problems = []
        for task in tasks:
            problems += run_pool(task.run, task.shards, worker_devices(task.run.options))
        return problems


class Joblib(Launcher):
    """``joblib``: several processes of this machine, one a task."""

    def start(self, unmade: list[Unmade], tasks: list[Task], launch: Launch | None) -> Callable[[], list[str]]:
        return partial(self._run, [one.run for one in unmade], tasks)

    def _run(self, runs: Sequence[AnyWork], tasks: list[Task]) -> list[str]:
        import joblib

        settings = {name: value for name, value in self.settings.items() if name != "_target_" and value is not None}
        settings["backend"] = "loky"  # processes: a task's log and signals are its process's own
        try:
            problems = list(joblib.Parallel(**settings)(joblib.delayed(_outcome)(task) for task in tasks))
        except Exception as error:  # a process was killed
            problems = [f"a task has no result: {first_line(error)}"]
        _wait_for_living(runs)
        return sorted(set(filter(None, problems)))


class Submitit(Launcher):
    """``submitit_local``: several processes of this machine, with logs as on a cluster."""

    def start(self, unmade: list[Unmade], tasks: list[Task], launch: Launch | None) -> Callable[[], list[str]]:
        return partial(self._run, [one.run for one in unmade], tasks, self._submit(tasks, launch) if launch else [])

    def _submit(self, tasks: list[Task], launch: Launch) -> list[Any]:
        import submitit

        run = tasks[0].run
        label = self.settings["name"] if "name" in self.given else run.directory.path.name
        folder = self.settings["submitit_folder"] if "submitit_folder" in self.given else f"{launch.folder}/%j"
        settings = submission(self.settings, self.given, [run], launch.job_name(label))
        executor = submitit.AutoExecutor(folder=folder, cluster="local")
        executor.update_parameters(**settings)
        return list(executor.submit_array(tasks))

    def _run(self, runs: Sequence[AnyWork], tasks: list[Task], jobs: list[Any]) -> list[str]:
        while not all(job.done() for job in jobs):
            time.sleep(min(POLL, 0.2))
        _wait_for_living(runs)
        ended = zip(tasks, jobs, strict=True)
        return sorted(filter(None, (_what_became_of(job) for task, job in ended if _left_work(task))))


def _outcome(task: Task) -> str:
    """Run a task; what its files tell is not repeated."""
    # joblib's processes name its own way of starting others as the usual one, which the task's workers do not know
    multiprocessing.set_start_method("spawn", force=True)
    try:
        task()
    except Unfinished:
        return ""
    except Exception as error:
        return f"a task failed: {first_line(error)}"
    return ""


def _left_work(task: Task) -> bool:
    return not task.run.directory.done_shards().issuperset(task.shards)


def _what_became_of(job: Any) -> str:
    """Return why a Submitit job failed; "" where its shards' journals tell it."""
    from submitit.core.utils import pickle_load

    if not job.paths.result_pickle.exists():
        return f"task {job.job_id} ended without a result: see {job.paths.stderr}"
    outcome, trace = pickle_load(job.paths.result_pickle)
    last = trace.strip().splitlines()[-1] if outcome == "error" else ""
    return f"task {job.job_id} failed: {last}: see {job.paths.stderr}" if last and "Unfinished" not in last else ""


def _wait_for_living(runs: Sequence[AnyWork]) -> None:
    """A killed task's followers, or another command, may still be at a shard: the summary must not be ahead of them."""
    while any(journal.alive() for run in runs for journal in journals(run.directory)):
        time.sleep(POLL)
