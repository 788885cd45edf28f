"""What a report tells of a run as a whole, in json types: counts, speed over time, seconds, quality, failures."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.dataset.shards import shard_name
from jobs.report.ledger import Ledger
from jobs.report.page.choose import Done
from jobs.report.page.samples import Entry
from jobs.report.status import Status
from jobs.store.journal import journals
from jobs.store.rundir import RunDir
from jobs.store.sidecar import FAILED

_STRETCHES, _MANY = 60, 20  # of the time axis; fewer where hardly any samples were made
_FAILURES, _NODES, _SCHEDULES, _WORST = 200, 50, 3, 10  # that are listed
_INSTANT = 1e-3  # seconds that anything takes at least
Stretch = tuple[float, float, int]  # from when to when, in seconds since 1970, so many samples were made


def stretches_of(run: RunDir, done: Sequence[Done]) -> list[Stretch]:
    """Return when samples were made: those of a finished shard all along its generation, others each on its own."""
    finished = {one.shard for one in done if not one.folder}
    rows: dict[int, dict[str, Any]] = {}
    for journal in journals(run):
        if journal.header["shard"] not in finished:
            rows |= {row["sample"]: row for row in journal.samples if "at" in row}
    return [
        *((one.finished - one.seconds, one.finished, one.samples) for one in done),
        *((row["at"] - row["seconds"], row["at"], 1) for row in rows.values()),
    ]


def over_time(stretches: Sequence[Stretch], created: float) -> dict[str, Any]:
    """Return progress and speed over time.

    Args:
        stretches: when samples were made.
        created: when the run was begun, in seconds since 1970.

    Returns:
        ``created`` and ``last``, the end of the last stretch; ``made``: samples that were made by the ends of equal
        parts of the time between the two, the first of them 0.
    """
    if not stretches:
        return {"created": created, "last": None, "made": []}
    begins, ends, counts = (np.array(one, float) for one in zip(*stretches, strict=True))
    begins, ends = np.maximum(begins, created), np.maximum(ends, created + _INSTANT)
    parts = min(_STRETCHES, max(_MANY, int(counts.sum()) // _MANY))
    lengths = np.maximum(ends - begins, _INSTANT)
    made = [
        float((counts * np.clip((at - ends) / lengths + 1, 0, 1)).sum())
        for at in np.linspace(created, float(ends.max()), parts + 1)
    ]
    return {"created": created, "last": float(ends.max()), "made": made}


def facts(
    run: RunDir, status: Status, ledger: Ledger, done: Sequence[Done], entries: Sequence[Entry], most: int
) -> dict[str, Any]:
    """Return everything but the samples.

    Args:
        run: its directory.
        status: counts and failures.
        ledger: where seconds went.
        done: finished shards, later passes behind.
        entries: the samples that are shown.
        most: how many were asked for.
    """
    record = run.read()
    identity = record["identity"]
    given_up = sum(one.values["status"] == FAILED for one in entries)
    return {
        "name": record["name"],
        "version": record["version"],
        "asked": _asked(identity),
        "time": over_time(stretches_of(run, done), record["created"]),
        "status": {name: getattr(status, name) for name in _COUNTS},
        "reasons": sorted(status.reasons.items(), key=lambda item: (-item[1], item[0])),
        "stopped": sorted(Counter(status.stopped.values()).items()),
        "failures": [
            {"what": _what(one), "reason": one["reason"], "log": one["log"]} for one in status.failures[:_FAILURES]
        ],
        "more_failures": max(0, len(status.failures) - _FAILURES),
        "ledger": _ledger(ledger),
        "quality": [{"steps": steps, **measured} for steps, measured in status.quality.items() if measured["psnr"]],
        "audits": _audits(status.audits),
        "schedules": _schedules(entries),
        "shown": {
            **{"made": len(entries) - given_up, "of": sum(one.samples for one in done), "failed": given_up},
            **{"of_failed": max(status.samples_failed - status.retried, given_up), "most": most},
        },
    }


_COUNTS = (
    *("shards", "samples", "done", "running", "failed", "left", "samples_done", "samples_failed", "samples_flagged"),
    *("retried", "twins", "samples_per_second", "eta_seconds", "calibrating"),
)


def _asked(identity: dict[str, Any]) -> dict[str, Any]:
    """Return what the run was asked for, in a few words."""
    size = f"{identity['width']}x{identity['height']}"
    frames = f", {identity['num_frames']} frames" if identity["num_frames"] > 1 else ""
    return {
        "model": identity["model"]["name"],
        "algo": identity["algo"]["name"],
        "size": f"{size}{frames}",
        "steps": identity["num_inference_steps"],
        "prompts": identity["prompts"]["count"],
        "samples of each": identity["samples_per_prompt"],
        "seed": identity["seed"],
    }


def _what(failure: dict[str, Any]) -> str:
    return f"shard {shard_name(failure['shard'])}" + (f", sample {failure['sample']}" if failure["sample"] else "")


def _ledger(ledger: Ledger) -> dict[str, Any]:
    nodes = sorted(ledger.nodes.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return {
        "unit": "GPU" if ledger.gpus else "device",
        "total": ledger.total,
        "nodes": nodes[:_NODES],
        "more_nodes": max(0, len(nodes) - _NODES),
        "seconds_a_thousand": ledger.seconds_a_thousand,
    }


def _audits(audits: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not audits:
        return None
    decibels, likeness = (np.array([one[name] for one in audits], float) for name in ("psnr", "ssim"))
    worst = sorted(audits, key=lambda one: (one["psnr"], one["key"]))[:_WORST]
    return {
        "samples": len(audits),
        "psnr": {name: float(np.quantile(decibels, share)) for name, share in _QUANTILES.items()},
        "ssim": {name: float(np.quantile(likeness, share)) for name, share in _QUANTILES.items()},
        "below": int(sum(one["psnr"] < one["floor"] for one in audits)),
        "floor": audits[0]["floor"],
        "worst": [{name: one[name] for name in ("key", "psnr", "ssim")} for one in worst],
    }


_QUANTILES = {"worst": 0.0, "5th percentile": 0.05, "median": 0.5, "95th percentile": 0.95}


def _schedules(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return which steps were evaluated, in the commonest ways, and what was expected of them."""
    expected = ("num_inference_steps", "algo.expected_psnr", "algo.expected_ssim")
    found: Counter[tuple[tuple[int, ...], tuple[Any, ...]]] = Counter(
        (one.evaluated, tuple(one.values[name] for name in expected)) for one in entries if one.evaluated
    )
    return [
        {"evaluated": list(evaluated), "steps": steps, "psnr": psnr, "ssim": ssim, "samples": count}
        for (evaluated, (steps, psnr, ssim)), count in found.most_common(_SCHEDULES)
    ]
