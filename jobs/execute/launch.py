"""The ways to run tasks, one for each ``hydra/launcher``: this machine's pool, joblib, and Submitit's two executors.

Hydra's own launchers compose the configuration again in every task and swallow what a task raises. These take the
same configuration (``hydra.launcher.*``) and hand the resolved run to the task.
"""

import time
from abc import ABC, abstractmethod
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from jobs.base.errors import BadInput, Unfinished, first_line
from jobs.base.times import GONE, POLL
from jobs.execute import queue
from jobs.execute.container import start_inside
from jobs.execute.launches import Launch
from jobs.execute.pool import run_pool
from jobs.execute.resources import submission
from jobs.execute.task import Task
from jobs.run.devices import worker_devices
from jobs.run.run import Run
from jobs.store.journal import journals

# What Submitit takes when an executor is made, and what it takes alike for every cluster.
_STARTING = ("max_num_timeout", "python")
_SHARED = (
    *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name"),
    "stderr_to_stdout",
)


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

    def queued_jobs(self) -> dict[str, str] | None:
        """Return id -> name of the jobs in the queue; None where there is no queue, or it does not answer."""
        return None

    def array_limit(self, shards: int) -> int:
        """Return the most tasks of one launch, for so many shards."""
        return max(shards, 1)

    def at_once(self, run: Run) -> int:
        """Return how many tasks this machine should get."""
        return run.workers

    @abstractmethod
    def run(self, runs: list[Run], tasks: list[Task], launch: Launch | None, earlier: set[str]) -> list[str]:
        """Run the tasks and wait, for those of earlier launches too.

        Args:
            runs: the runs of this command.
            tasks: what to run; empty where only earlier tasks are waited for.
            launch: this launch; None where there are no tasks.
            earlier: ids of the queued tasks of earlier launches.

        Returns:
            What went wrong; what the files of the runs tell anyway is not repeated.
        """


class Here(Launcher):
    """``basic``: this machine's pool of workers, one run after another."""

    def at_once(self, run: Run) -> int:
        return 1

    def run(self, runs: list[Run], tasks: list[Task], launch: Launch | None, earlier: set[str]) -> list[str]:
        problems = []
        for task in tasks:
            problems += run_pool(task.run, task.shards, worker_devices(task.run.options))
        return problems


class Joblib(Launcher):
    """``joblib``: several processes of this machine, one a task."""

    def run(self, runs: list[Run], tasks: list[Task], launch: Launch | None, earlier: set[str]) -> list[str]:
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

    cluster = "local"

    def run(self, runs: list[Run], tasks: list[Task], launch: Launch | None, earlier: set[str]) -> list[str]:
        from submitit.core.utils import FailedJobError

        jobs, problems = [], []
        try:
            jobs = self._submit(tasks, launch) if launch else []
        except FailedJobError as error:
            problems = [f"nothing was submitted: {first_line(error)}"]
        if jobs or earlier:
            self._wait(runs, launch, earlier, jobs)
        ended = zip(tasks if jobs else [], jobs, strict=True)
        problems += [_what_became_of(job) for task, job in ended if _left_work(task)]
        return sorted(filter(None, problems))

    def _submit(self, tasks: list[Task], launch: Launch) -> list[Any]:
        import submitit

        run = tasks[0].run
        gpus = max(task.run.options.model.gpus for task in tasks)
        label = self.settings["name"] if "name" in self.given else run.directory.path.name
        folder = self.settings["submitit_folder"] if "submitit_folder" in self.given else f"{launch.folder}/%j"
        settings = submission(
            start_inside(self.settings, [task.run for task in tasks]),
            self.given,
            run.options.parallel,
            gpus,
            launch.job_name(label),
        )
        starting = {f"{self.cluster}_{name}": settings.pop(name) for name in _STARTING if name in settings}
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster, **starting)
        executor.update_parameters(
            **{name if name in _SHARED else f"{self.cluster}_{name}": value for name, value in settings.items()}
        )
        return list(executor.submit_array(tasks))

    def _wait(self, runs: list[Run], launch: Launch | None, earlier: set[str], jobs: list[Any]) -> None:
        while not all(job.done() for job in jobs):
            time.sleep(min(POLL, 0.2))
        _wait_for_living(runs)


class Slurm(Submitit):
    """``submitit_slurm``: an array job."""

    cluster = "slurm"
    on_this_machine = False

    def require(self) -> None:
        queue.require()
        queue.drop_allocation_variables()

    def queued_jobs(self) -> dict[str, str] | None:
        return queue.queued_jobs()

    def array_limit(self, shards: int) -> int:
        return queue.array_limit()

    def _wait(self, runs: list[Run], launch: Launch | None, earlier: set[str], jobs: list[Any]) -> None:
        """Wait until none of our jobs is in the queue, whatever their results say: a killed task leaves none."""
        misses = 0
        with tqdm(total=sum(run.layout.num_shards for run in runs), unit="shard") as bar:
            while misses < GONE:
                time.sleep(POLL)
                names = queue.queued_jobs()
                if names is not None:  # no answer from the controller says nothing about our jobs
                    ours = {job for job, name in names.items() if job in earlier or (launch and launch.owns(name))}
                    misses = 0 if ours else misses + 1
                    bar.set_postfix_str(f"{len(ours)} tasks in the queue", refresh=False)
                bar.update(sum(len(run.directory.done_shards()) for run in runs) - bar.n)


# By the class that a launcher's configuration names, whatever the configuration itself is called.
LAUNCHERS: dict[str, type[Launcher]] = {
    "BasicLauncher": Here,
    "JoblibLauncher": Joblib,
    "LocalLauncher": Submitit,
    "SlurmLauncher": Slurm,
}


def make_launcher(config: DictConfig) -> Launcher:
    """Return the launcher that the configuration names, with its settings.

    Raises:
        BadInput: it is none of ours.
    """
    name = str(config.hydra.runtime.choices["hydra/launcher"])
    kind = str(config.hydra.launcher.get("_target_")).rpartition(".")[2]
    if kind not in LAUNCHERS:
        raise BadInput(
            f"hydra/launcher={name} is not supported: choose one of basic, joblib, submitit_local, submitit_slurm"
        )
    with_prefix = [str(item).lstrip("+") for item in config.hydra.overrides.hydra]
    given = {
        item.partition("=")[0].removeprefix("hydra.launcher.")
        for item in with_prefix
        if item.startswith("hydra.launcher.")
    }
    # Only the launcher's part is resolved: other parts of Hydra's configuration are filled in later or never.
    settings = dict(config.hydra.launcher)
    plain: dict[str, Any] = {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in settings.items()
    }
    return LAUNCHERS[kind](plain, given)


def _outcome(task: Task) -> str:
    """Run a task; what its files tell is not repeated."""
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


def _wait_for_living(runs: list[Run]) -> None:
    """A killed task's followers, or another command, may still be at a shard: the summary must not be ahead of them."""
    while any(journal.alive() for run in runs for journal in journals(run.directory)):
        time.sleep(POLL)
