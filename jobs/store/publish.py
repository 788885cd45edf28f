"""Turns a complete attempt into a done shard: close, fsync, read back, move, sidecar, done record, in that order."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.base.errors import first_line
from jobs.dataset.layout import Layout
from jobs.dataset.shards import shard_name
from jobs.store.atomic import json_bytes
from jobs.store.attempt import Attempt, strikes_of
from jobs.store.journal import journals
from jobs.store.mirror import is_published
from jobs.store.rundir import RunDir
from jobs.store.sidecar import FAILED, FLAGGED, OK, sidecar_bytes
from jobs.store.spent import spent_of
from jobs.store.tar import end_of_archive, verify

log = logging.getLogger(__name__)

DONE, INCOMPLETE = "done", "incomplete"


def finish(attempt: Attempt, layout: Layout, sample_attempts: int) -> str:
    """Publish the shard if it is complete, or end the attempt and say what is missing.

    A sample that failed in ``sample_attempts`` attempts is given up: the shard is published without it, and its
    sidecar says why. A shard in which nothing succeeded is never published, because that is a broken machine or
    setting rather than a bad prompt.

    Returns:
        ``DONE``, or ``INCOMPLETE`` when another attempt is needed.

    Raises:
        OSError: the disk did not give back what was written; nothing was published.
        BadInput: the store did not take it; nothing was published.
    """
    if is_published(attempt.run, attempt.shard):
        return _yield_to_publisher(attempt)
    made = attempt.inherited.union(row["sample"] for row in attempt.rows)
    strikes = attempt.strikes + strikes_of(attempt.failures)
    missing = [index for index in layout.shard_range(attempt.shard) if index not in made]
    retry = [index for index in missing if strikes[index] < sample_attempts]
    if retry or not made:
        attempt.end("failed", f"{len(missing)} samples failed")
        return INCOMPLETE
    written = [row["sample"] for row in attempt.rows]
    if attempt.inherited or written != sorted(written):  # mixed prompts are made in the order of their batches
        attempt = _joined(attempt, sorted(made))
    attempt.write_tar(end_of_archive(attempt.size))
    attempt.sync()
    sha256 = attempt.digest.hexdigest()
    verify(attempt.partial, [name for row in attempt.rows for name in row["names"]], sha256)
    return _publish(attempt, layout, missing, sha256)


def _joined(attempt: Attempt, made: list[int]) -> Attempt:
    """Copy all samples of a shard, the inherited ones too, into one attempt in order."""
    whole = attempt.joined()
    try:
        for index in made:
            whole.copy(index)
    except BaseException as error:
        whole.end("error", first_line(error))
        raise
    return whole


def done_record(attempt: Attempt, samples: int, given_up: dict[int, str], sha256: str) -> dict[str, Any]:
    """Return what every done record says.

    Args:
        attempt: that made the shard.
        samples: how many it has.
        given_up: sample -> why it has it not.
        sha256: of what was made.
    """
    return {
        "shard": attempt.shard,
        "samples": samples,
        "failed": [*given_up],
        "reasons": Counter(given_up.values()),
        "flagged": 0,
        "sha256": sha256,
        "seconds": sum(row["seconds"] for row in attempt.rows),
        "attempt": attempt.name,
        "host": attempt.origin["host"],
        "version": attempt.origin["version"],
        "fingerprint": attempt.fingerprint,
        "finished": time.time(),
    }


def _publish(attempt: Attempt, layout: Layout, given_up: Sequence[int], sha256: str) -> str:
    run, shard = attempt.run, attempt.shard
    rows = _rows(attempt, given_up)
    record = {
        **done_record(attempt, len(attempt.rows), {index: rows[index]["reason"] for index in given_up}, sha256),
        "flagged": sum(row["status"] == FLAGGED for row in rows.values()),
        "audits": [row["audit"] for row in rows.values() if row.get("audit")],
        "bytes": attempt.partial.stat().st_size,
        "attempts": _spent(attempt),
    }
    sidecar = sidecar_bytes(layout, rows)
    with run.publish_lock(shard):
        if run.shard_samples(shard) > len(rows):
            attempt.end("failed", "the run has more prompts by now")
            return INCOMPLETE
        if not is_published(run, shard):
            run.put_tar(shard, attempt.partial, sha256)
            run.put(run.sidecar(shard), sidecar)
            run.put(run.done_record(shard), json_bytes(record))
    attempt.end(DONE)
    clear_work(attempt)
    return DONE


def _spent(attempt: Attempt) -> list[dict[str, Any]]:
    """Return what the attempts at a shard took, before their journals are removed."""
    found = (
        spent
        for journal in journals(attempt.run, attempt.shard)
        for spent in spent_of(journal, attempt.spent if journal.header["attempt"] == attempt.name else None)
    )
    # By name: a kill while the shard was reopened may have left two journals that tell of an attempt.
    return list({spent["attempt"]: spent for spent in found}.values())


def _yield_to_publisher(attempt: Attempt) -> str:
    log.info("shard %d was published by another attempt meanwhile; this one's copy is dropped", attempt.shard)
    attempt.end(DONE)
    clear_work(attempt)
    return DONE


def clear_work(attempt: Attempt) -> None:
    """Remove what all attempts at a done shard left; one that still runs finds the done record and stops."""
    for path in attempt.run.work.glob(f"{shard_name(attempt.shard)}.*"):
        path.unlink(missing_ok=True)
    if attempt.run.url:  # the tar of a shard that had fewer samples
        attempt.run.tar(attempt.shard).unlink(missing_ok=True)


def clear_leftovers(run: RunDir) -> None:
    """Remove what work/ still says of done shards: files of a kill just after the done record, failures overcome."""
    done = run.done_shards()
    for path in run.work.glob("*.*"):
        shard = path.name.partition(".")[0]
        if shard.isdecimal() and int(shard) in done:
            path.unlink(missing_ok=True)
    for path in run.data.glob("*.tar") if run.url else ():
        if path.stem.isdecimal() and int(path.stem) in done:
            path.unlink(missing_ok=True)
    for path, failure in run.task_failures().items():
        if done.issuperset(failure["shards"]):
            path.unlink(missing_ok=True)


def _rows(attempt: Attempt, given_up: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what the journals say of each sample, by index."""
    reasons = {row["failed"]: row for row in [*attempt.earlier_failures, *attempt.failures]}
    rows = {row["sample"]: {**row, "status": FLAGGED if row["flagged"] else OK, "reason": ""} for row in attempt.rows}
    for index in given_up:
        last = reasons[index]
        rows[index] = {**last, "status": FAILED, "reason": last["error"], "media_sha256": "", "seconds": 0.0}
    return rows
