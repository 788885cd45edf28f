"""One task of a launched job: some shards of a run, worked wherever a launcher starts it."""

import logging
from dataclasses import dataclass, replace
from typing import Any

from jobs.base.errors import Unfinished
from jobs.execute.inprocess import run_in_process
from jobs.execute.logs import task_log
from jobs.execute.pool import run_pool
from jobs.parallel.ranks import launched_member
from jobs.run.devices import task_devices
from jobs.run.open import check_task
from jobs.run.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Called where it runs: under Submitit by each of its ranks, elsewhere once.

    Attributes:
        run: the run.
        shards: which of its shards.
        number: of this task in its launch; shares out the GPUs of a machine among tasks that see all of them.
    """

    run: Run
    shards: list[int]
    number: int

    def __call__(self) -> None:
        """Make the shards that are still unfinished.

        Raises:
            Unfinished: samples or shards are left over; so the job ends as failed.
            Exception: the machine, the model or the disk failed.
        """
        run = self.run
        log_path = task_log(run)
        shards = self.shards
        try:
            shards = [shard for shard in run.unfinished() if shard in set(self.shards)]
            log.info("working shards %s", shards)
            check_task(run)
            run.checkpoint.check()
            member = launched_member(run.options.parallel, run.directory.work)
            if member or run.options.parallel.size == 1:
                problems = run_in_process(run, shards, member, number=self.number, log_path=log_path)
            else:
                problems = run_pool(run, shards, [task_devices(run.options, self.number)])
        except Exception as error:
            run.directory.record_task_failure(shards, f"{type(error).__name__}: {error}", log_path)
            log.exception("this task left work behind")
            raise
        if problems:
            raise Unfinished("; ".join(problems))

    def checkpoint(self) -> Any:
        """Return what Submitit queues again at a time limit: the same task, which finds what is done on the disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(replace(self))
