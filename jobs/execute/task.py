"""One task of a launched job: some shards of a run, worked wherever a launcher starts it."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.base.disk import disk_trouble
from jobs.base.errors import Unfinished, first_line
from jobs.execute.halt import CUT_OFF, LOOK, Halt, heeded_signals, task_end
from jobs.execute.inprocess import Ranked
from jobs.execute.logs import task_log
from jobs.execute.pool import Pool
from jobs.execute.requeue import requeue
from jobs.execute.storm import prepare
from jobs.execute.work import AnyWork
from jobs.parallel.ranks import launched_member, launched_share, network_of
from jobs.run.devices import task_workers
from jobs.run.open import check_task
from jobs.run.run import Run
from jobs.store.journal import STOPPED, journals, write_end
from jobs.store.process import slurm_job

log = logging.getLogger(__name__)
TURNS = 20  # of one job, after which one that comes to nothing is the last


@dataclass(frozen=True)
class Task:
    """Called where it runs: under Submitit by each of its ranks, elsewhere once.

    Attributes:
        run: whose shards they are.
        shards: which of its shards.
        number: of this task in its launch; shares out the GPUs of a machine among tasks that see all of them.
        workers: that it has at once, each with a GPU, or with one for each of the ranks that share a sample.
    """

    run: AnyWork
    shards: list[int]
    number: int
    workers: int = 1

    def __call__(self) -> None:
        """Make the shards that are still unfinished.

        Raises:
            Unfinished: samples or shards are left over; so the job ends as failed.
            SystemExit: it was stopped, and is in the queue again.
            Exception: the machine, the model or the disk failed.
        """
        run = self.run
        log_path = task_log(run)
        shards = self.shards
        # Signals are heeded until the task is in the queue again: the next one would end it on the way there.
        with contextlib.ExitStack() as signals:
            try:
                part, parts, number = launched_share(run.options.parallel)
                prepare(wait=number == 0)
                own = set(self.shards[part::parts])
                shards = [shard for shard in run.unfinished() if shard in own]
                log.info("working shards %s", shards)
                member = None
                if isinstance(run, Run):
                    check_task(run)
                    run.checkpoint.check()
                    member = launched_member(run.options.parallel, run.directory.work, network_of(run.options))
                else:
                    run.check()
                halt = Halt(task_end())
                signals.enter_context(heeded_signals(halt, leads=not (member and member.rank)))
                if isinstance(run, Run) and member:
                    work: Ranked | Pool = Ranked(run, shards, member, log_path=log_path, halt=halt)
                    if not member.rank:
                        _cut_off_in_time(halt, lambda: self._end_cut_off(halt, work, shards, log_path))
                else:
                    among = self.number if parts == 1 else number
                    work = Pool(run, shards, task_workers(run.options, among, self.workers), halt, log_path)
                work.work()
            except Exception as error:
                trouble = disk_trouble(error, run.directory.path)
                self._leave_word(shards, trouble or first_line(error), log_path)
                if trouble:
                    raise Unfinished(trouble) from None
                log.exception("this task left work behind")
                raise
            if halt.why and not (member and member.rank) and not run.directory.done_shards().issuperset(shards):
                self._end_stopped(halt, work, shards, log_path)
        left = [] if run.directory.done_shards().issuperset(shards) else work.mishaps
        if problems := [*left, *work.problems]:
            raise Unfinished("; ".join(problems))

    def _end_stopped(self, halt: Halt, work: Ranked | Pool, shards: list[int], log_path: str) -> None:
        """Have another turn, if this one came forward.

        Raises:
            Unfinished: there is no other turn.
            SystemExit: there is one.
        """
        turn = int(os.environ.get("SLURM_RESTART_COUNT") or 0) + 1
        if halt.nearly_over and not work.made:
            refusal = "nothing could be made within its time limit: raise hydra.launcher.timeout_min"
        elif turn > TURNS and not work.made:
            refusal = f"nothing could be made in its turn no. {turn}"
        else:
            self._await_others(halt)
            refusal = requeue(halt.end)
        if not refusal:
            log.info("queued again, to go on where this stopped: %s", halt.why)
            raise SystemExit(0)
        reason = f"stopped ({halt.why}) and not queued again: {refusal}"
        self._leave_word(shards, reason, log_path)
        log.error("%s; the same command goes on", reason)
        raise Unfinished("; ".join([reason, *work.problems]))

    def _await_others(self, halt: Halt) -> None:
        """Let the task's other processes finish what they have in hand: the whole job is queued again at once."""
        job = slurm_job()

        def at_work() -> bool:
            headers = (
                one.header for shard in self.shards for one in journals(self.run.directory, shard) if one.alive()
            )
            return any(one["slurm_job"] == job and one["process"]["pid"] != os.getpid() for one in headers)

        while job and not halt.overdue and at_work():
            time.sleep(LOOK)

    def _end_cut_off(self, halt: Halt, work: Ranked | Pool, shards: list[int], log_path: str) -> None:
        write_end(self.run.directory, shards, os.getpid(), STOPPED, halt.why)
        self._end_stopped(halt, work, shards, log_path)

    def _leave_word(self, shards: list[int], reason: str, log_path: str) -> None:
        try:
            self.run.directory.record_task_failure(shards, reason, log_path)
        except OSError as error:  # the disk is full, or gone
            log.error("this task cannot even leave word of its end: %s", error)


def _cut_off_in_time(halt: Halt, end: Callable[[], None]) -> None:
    """Watch from a thread, since the main one may be in a long call when the deadline comes."""

    def watch() -> None:
        while not halt.overdue:
            time.sleep(LOOK)
        halt.ask(CUT_OFF)
        code = 1
        try:
            end()
        except SystemExit:
            code = 0
        finally:
            os._exit(code)

    threading.Thread(target=watch, name="deadline", daemon=True).start()
