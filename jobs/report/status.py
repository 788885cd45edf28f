"""What is done, running, failed and left of a run, read from its files alone."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.dataset.shards import shard_name
from jobs.report.audits import audit_lines
from jobs.store.journal import STOPPED, Journal, journals
from jobs.store.rundir import RunDir

WINDOW = 600.0  # seconds over which the present speed is measured
LONGEST = 400  # characters of a reason in a summary


@dataclass
class Status:
    """A snapshot.

    Attributes:
        samples_failed: given up.
        samples_flagged: kept, though a safety checker flagged them.
        reasons: why samples were given up -> how many.
        retried: of the samples given up, those that a later pass has made (``retry_failed=true``).
        twins: shards that several processes are at, which does no harm: a node was given up that still works.
        stopped: shards among those left whose last attempt was stopped, by a time limit or a signal -> why.
        calibrating: samples made of the run's own calibration, and of how many; None where it is not in the making.
        failures: one dict a failure: shard, sample ("" for a whole shard), reason, log.
    """

    shards: int
    samples: int
    done: int = 0
    running: int = 0
    failed: int = 0
    left: int = 0
    samples_done: int = 0
    samples_failed: int = 0
    samples_flagged: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    samples_per_second: float = 0.0
    eta_seconds: float | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)
    retried: int = 0
    twins: int = 0
    stopped: dict[int, str] = field(default_factory=dict)
    calibrating: tuple[int, int] | None = None
    quality: dict[str, Any] = field(default_factory=dict)
    audits: list[dict[str, Any]] = field(default_factory=list)


def read_status(run: RunDir) -> Status:
    """Count shards and samples, and collect failures with their reasons and logs.

    A shard counts as running when a living attempt is at it, as failed when the last attempt at it ended or vanished
    without publishing, as left when nobody began it, or who did was stopped and may have another turn.

    Raises:
        BadInput: ``run`` is not a run's directory.
    """
    record = run.read()
    status = Status(shards=record["shards"], samples=record["samples"], calibrating=run.calibration_progress())
    status.quality = record.get("quality", {})
    done = run.done_shards()
    status.done = len(done)
    now = time.time()
    finished: list[tuple[float, int]] = []  # (when, samples)
    for shard in sorted(done):
        result = json.loads(run.done_record(shard).read_text())
        status.samples_done += result["samples"]
        status.samples_failed += len(result["failed"])
        status.samples_flagged += result["flagged"]
        for reason, count in result["reasons"].items():
            status.reasons[reason] = status.reasons.get(reason, 0) + count
        status.audits += result.get("audits", [])
        finished.append((result["finished"], result["samples"]))
        if result["failed"]:
            status.failures += given_up(run, shard)
    for later in run.retries():
        status.retried += sum(
            json.loads(later.done_record(shard).read_text())["samples"] for shard in later.done_shards()
        )
    attempts: dict[int, list[Journal]] = defaultdict(list)
    for journal in journals(run):
        if journal.header["shard"] not in done:
            attempts[journal.header["shard"]].append(journal)
    for tries in attempts.values():
        if tries[-1].reopened:
            continue  # left
        rows = {row["sample"]: row for journal in tries for row in journal.samples}
        made = {sample: row.get("at", now) for sample, row in rows.items()}
        status.audits += [row["audit"] for row in rows.values() if row.get("audit")]
        status.samples_done += len(made)
        finished += [(at, 1) for at in made.values()]
        if at_work := {_process(journal) for journal in tries if journal.alive()}:
            status.running += 1
            status.twins += len(at_work) > 1
        elif tries[-1].ended and tries[-1].ended["ended"] == STOPPED:
            status.stopped[tries[-1].header["shard"]] = tries[-1].ended["error"]
        else:
            status.failed += 1
            status.failures += _why(tries[-1])
    for failure in run.task_failures().values():
        for shard in set(failure["shards"]) - done - attempts.keys():
            attempts[shard] = []  # counted
            status.failed += 1
            status.failures.append({"shard": shard, "sample": "", "reason": failure["reason"], "log": failure["log"]})
    status.left = status.shards - status.done - status.running - status.failed
    _speed(status, finished, record["created"], now)
    return status


def _process(journal: Journal) -> tuple[Any, ...]:
    """Tell an attempt's process from others; the one that joins what others made is of the same process."""
    process = journal.header["process"] or {}
    return process.get("host"), process.get("pid"), process.get("created")


def given_up(run: RunDir, shard: int) -> list[dict[str, Any]]:
    """Return the failures of a published shard, from its sidecar."""
    import pyarrow.parquet as pq

    rows = pq.read_table(run.sidecar(shard), filters=[("status", "=", "failed")]).to_pylist()
    return [
        {
            "shard": shard,
            "sample": row["key"],
            "reason": f"{row['reason']} (given up)",
            "log": run.name_of(run.sidecar(shard)),
        }
        for row in rows
    ]


def _why(last: Journal) -> list[dict[str, Any]]:
    shard, log = last.header["shard"], last.header["log"]
    if last.failed:
        return [{"shard": shard, "sample": row["key"], "reason": row["error"], "log": log} for row in last.failed]
    if last.ended:
        reason = last.ended["error"] or "the attempt ended without publishing"
    else:
        reason = "the process ended without a message (killed, cancelled, or its node went down)"
    return [{"shard": shard, "sample": "", "reason": reason, "log": log}]


def _speed(status: Status, finished: list[tuple[float, int]], created: float, now: float) -> None:
    """Samples a second lately while something runs (hence an ETA), otherwise over the whole run."""
    if not finished:
        return
    if status.running:
        since = max(created, now - WINDOW)
        recent = sum(samples for at, samples in finished if at >= since)
        status.samples_per_second = recent / max(now - since, 1e-9)
        if recent:
            todo = status.samples - status.samples_done - status.samples_failed
            status.eta_seconds = todo / status.samples_per_second
    else:
        span = max(at for at, _ in finished) - created
        status.samples_per_second = status.samples_done / max(span, 1e-9)


def render(name: str, status: Status, most: int = 20) -> str:
    """Return the table a person reads; at most ``most`` failures."""
    lines = [
        f"{name}: {status.samples_done:,} of {status.samples:,} samples, "
        f"{status.done:,} of {status.shards:,} shards done",
        f"  shards   done {status.done:,}   running {status.running:,}   "
        f"failed {status.failed:,}   left {status.left:,}",
    ]
    if status.calibrating:
        lines.append("  calibration  {} of {} samples made".format(*status.calibrating))
    lines += [_quality(steps, measured) for steps, measured in status.quality.items() if measured["psnr"]]
    if status.audits:
        lines += audit_lines(status.audits)
    if status.samples_failed:
        lines.append(f"  samples  given up {status.samples_failed:,}: {_counted(status.reasons)}")
    if status.retried:
        lines.append(f"  samples  {status.retried:,} of those given up were made later, in retry-*/data")
    if status.samples_flagged:
        lines.append(f"  samples  kept though flagged {status.samples_flagged:,}")
    if status.samples_per_second:
        eta = "" if status.eta_seconds is None else f"   about {duration(status.eta_seconds)} to go"
        lines.append(f"  speed    {status.samples_per_second:.2f} samples/s{eta}")
    if status.twins:
        lines.append(f"  twins    {status.twins:,} of those running are made twice at once, to the same bytes")
    if status.stopped:
        reasons = Counter(status.stopped.values())
        lines.append(f"  stopped  {len(status.stopped):,} of those left go on where they are: {_counted(reasons)}")
    for failure in status.failures[:most]:
        what = f"shard {shard_name(failure['shard'])}" + (f" sample {failure['sample']}" if failure["sample"] else "")
        lines.append(f"  failed   {what}: {_on_one_line(failure['reason'])} [{failure['log']}]")
    if len(status.failures) > most:
        lines.append(f"  failed   and {len(status.failures) - most:,} more (--json lists all)")
    return "\n".join(lines)


def _quality(steps: str, measured: dict[str, Any]) -> str:
    """Say what forecasts bring, how sure that is, and how the schedule was found; runs of earlier versions say less."""
    psnr, choice = measured["psnr"], measured.get("choice", [])
    spread = f" ± {2 * psnr['standard_error']:.1f}" if "standard_error" in psnr else ""
    found = ""
    if choice:
        first, every = choice[0], len({tuple(one["evaluated"]) for one in choice})
        ways = (
            [f"found by {first['halves']} of {first['of']} halves of the calibration's samples"] if first["of"] else []
        )
        if every > 1:
            ways.append(f"the best of {every} on {first['compared']} of {'them' if ways else 'its samples'}")
        found = f"\n  schedule  {', '.join(ways)}" if ways else ""
    return (
        f"  quality  PSNR {psnr['mean']:.1f}{spread} dB (worst {psnr['worst']:.1f}), SSIM "
        f"{measured['ssim']['mean']:.3f} to all {steps} steps with {measured['evaluated']} evaluated, measured on "
        f"{measured['samples']} samples that were kept apart{found}"
    )


def _counted(reasons: Mapping[str, int], most: int = 5) -> str:
    """Return reasons with their counts, the commonest first."""
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    more = [f"{len(ordered) - most} other reasons"] if len(ordered) > most else []
    return "; ".join([*(f"{count:,} {_on_one_line(reason)}" for reason, count in ordered[:most]), *more])


def _on_one_line(reason: str) -> str:
    """Return the beginning of what an exception says: some say pages, all of which are in the log and --json."""
    line = " ".join(reason.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."


def duration(seconds: float) -> str:
    """``90`` -> ``1 min 30 s``."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
