"""Works shards in this very process, as one of the ranks that a launcher started."""

import logging

from jobs.execute.halt import Halt
from jobs.execute.worker import follow_leader, generate_shards
from jobs.parallel.ranks import Member
from jobs.run.devices import rank_device
from jobs.run.run import Run

log = logging.getLogger(__name__)


class Ranked:
    """One rank's share of the work.

    Args:
        run: the run.
        shards: to be made, in this order.
        member: this process's place in its group.
        log_path: where this process logs.
        halt: asks it to stop.

    Attributes:
        problems: what went wrong with single shards and samples.
        mishaps: none that it lived to tell.
        made: samples that it made; those of a calibration too.
    """

    def __init__(self, run: Run, shards: list[int], member: Member, *, log_path: str, halt: Halt):
        self.problems: list[str] = []
        self.mishaps: list[str] = []
        self.made = 0
        self._run, self._shards, self._member, self._log_path, self._halt = run, shards, member, log_path, halt

    def work(self) -> None:
        """Work until nothing is left, or it is to stop."""
        device = rank_device(self._run.options, self._member.local_rank)
        if self._member.rank:
            follow_leader(self._run, device=device, member=self._member, on_loss=self._on_loss)
            return
        waited = generate_shards(
            self._run,
            self._shards,
            device=device,
            log_path=self._log_path,
            report=self._report,
            halt=self._halt,
            member=self._member,
            on_loss=self._on_loss,
        )
        log.info("the generating thread waited for encoding or writing %.2f %% of the time", 100 * waited)

    def _report(self, event: str, shard: int | None, detail: str) -> None:
        self.made += event in ("sample", "calibrated")
        if shard is not None and event not in ("sample", "inherited"):
            log.info("shard %d %s %s", shard, event, detail)
        if event in ("failed", "incomplete"):
            self.problems.append(f"shard {shard} {event} {detail}")

    def _on_loss(self, cause: str) -> None:
        self._run.directory.record_task_failure(self._shards, cause, self._log_path)
