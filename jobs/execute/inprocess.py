"""Works shards in this very process: on its own device, or as one rank that a launcher started."""

import logging

from jobs.execute.worker import follow_leader, generate_shards
from jobs.parallel.ranks import Member
from jobs.run.devices import task_devices
from jobs.run.run import Run

log = logging.getLogger(__name__)


def run_in_process(run: Run, shards: list[int], member: Member | None, *, number: int = 0, log_path: str) -> list[str]:
    """Work shards, alone or as a rank.

    Args:
        run: the run.
        shards: to be made, in this order.
        member: this process's place in a group; None if it works alone.
        number: of this task among those that share the machine's GPUs.
        log_path: where this process logs.

    Returns:
        What went wrong with single shards and samples.
    """
    problems: list[str] = []

    def report(event: str, shard: int | None, detail: str) -> None:
        if shard is not None and event != "sample":
            log.info("shard %d %s %s", shard, event, detail)
        if event in ("failed", "incomplete"):
            problems.append(f"shard {shard} {event} {detail}")

    def on_loss(cause: str) -> None:
        run.directory.record_task_failure(shards, cause, log_path)

    device = task_devices(run.options, number)[member.local_rank if member else 0]
    if member and member.rank:
        follow_leader(run, device=device, member=member, on_loss=on_loss)
    else:
        waited = generate_shards(
            run, shards, device=device, log_path=log_path, report=report, member=member, on_loss=on_loss
        )
        log.info("the generating thread waited for encoding or writing %.2f %% of the time", 100 * waited)
    return problems
