"""Takes back a published shard that has more samples by now, because its run has more prompts."""

import hashlib
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.dataset.layout import Layout
from jobs.dataset.shards import shard_name
from jobs.store.atomic import write_bytes
from jobs.store.journal import REOPENED
from jobs.store.mirror import bring_back
from jobs.store.process import process_identity
from jobs.store.rundir import RunDir
from jobs.store.sidecar import FAILED, FLAGGED
from jobs.store.tar import BLOCK


def short_shards(run: RunDir, layout: Layout) -> list[int]:
    """Return the shards that are done with fewer samples than they have now."""
    record = run.read()
    counts = [prompts["count"] for prompts in [*record.get("earlier", []), record["identity"]["prompts"]]]
    firsts = [layout.numbering.of(count, 0) for count in counts if count < len(layout.table)]
    partly = {shard for first in firsts if (shard := layout.shard_of(first)) is not None}
    return sorted(shard for shard in partly if run.is_done(shard) and _is_short(run, layout, shard))


def reopen_short(run: RunDir, layout: Layout) -> None:
    """Make those shards unfinished again.

    The tar stays where it is (that of a store is brought here), and a journal is written for it, from which the next
    attempt takes its samples over.
    """
    for shard in short_shards(run, layout):
        with run.publish_lock(shard):
            if run.is_done(shard) and _is_short(run, layout, shard):
                bring_back(run, shard)
                _write_journal(run, shard)
                run.remove(run.done_record(shard))


def _is_short(run: RunDir, layout: Layout, shard: int) -> bool:
    record = json.loads(run.done_record(shard).read_text())
    return bool(record["samples"] + len(record["failed"]) < len(layout.shard_range(shard)))


def _write_journal(run: RunDir, shard: int) -> None:
    import pyarrow.parquet as pq

    record = json.loads(run.done_record(shard).read_text())
    fingerprint, audits = record["fingerprint"], {one["key"]: one for one in record["audits"]}
    found = {key: (start, end, names) for key, start, end, names in _samples(run.tar(shard))}
    lines: list[dict[str, Any]] = []
    for row in pq.read_table(run.sidecar(shard)).to_pylist():
        origin = {name: row[name] for name in ("attempt", "host", "device", "version")}
        if row["status"] == FAILED:
            failed = {"failed": row["sample_index"], "key": row["key"], "error": row["reason"]}
            lines.append({**failed, "strike": True, "final": True, **origin})
        else:
            start, end, names = found[row["key"]]
            lines.append(
                {
                    "sample": row["sample_index"],
                    "names": names,
                    "media_sha256": row["sha256"],
                    "seconds": row["seconds"],
                    "flagged": row["status"] == FLAGGED,
                    "audit": audits.get(row["key"]),
                    **origin,
                    "sha256": _hash(run.tar(shard), start, end),
                    "start": start,
                    "end": end,
                }
            )
    now = time.time()
    name = f"{time.time_ns():x}-reopened"
    header = {
        "attempt": name,
        "shard": shard,
        "process": process_identity(os.getpid()),
        "slurm_job": None,
        "fingerprint": fingerprint,
        "log": str(run.sidecar(shard)),
        "started": now,
        "attempts": record["attempts"],
    }
    ended = {"ended": REOPENED, "error": "the run has more prompts now", "at": now}
    text = "".join(json.dumps(line) + "\n" for line in [header, *lines, ended])
    write_bytes(run.work / f"{shard_name(shard)}.{name}.jsonl", text.encode())


def _samples(path: Path) -> Iterator[tuple[str, int, int, list[str]]]:
    """Yield key, first byte, last byte and members of each sample of a tar, in order."""
    key, start, end = "", 0, 0
    names: list[str] = []
    with tarfile.open(path) as tar:
        for member in tar:
            stem = member.name.partition(".")[0]
            if names and stem != key:
                yield key, start, end, names
                start, names = end, []
            key, names = stem, [*names, member.name]
            end = member.offset_data + member.size + -member.size % BLOCK
    if names:
        yield key, start, end, names


def _hash(path: Path, start: int, end: int) -> str:
    with open(path, "rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(end - start)).hexdigest()
