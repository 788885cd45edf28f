"""The scores that need all samples at once: near duplicates, found by the command itself from tables of hashes."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs import __version__
from jobs.base.disk import disk_trouble
from jobs.base.errors import BadInput
from jobs.base.together import together
from jobs.dataset.shards import Shards
from jobs.score.duplicates import near_duplicates
from jobs.score.publish import table_bytes
from jobs.store.atomic import json_bytes
from jobs.store.mirror_scores import working
from jobs.store.rundir import RunDir
from jobs.store.scores import ScoreDir, tar_hash
from jobs.store.sidecar import OK

DUPLICATES, HASHES = "near_duplicates", "basic"


@dataclass(frozen=True)
class NearDuplicates:
    """Near duplicates within a run and the passes over its failed samples, and in another run.

    Attributes:
        run: the run.
        against: the other one.
        bits: see ``near_duplicates``.
    """

    run: RunDir
    against: RunDir | None
    bits: int

    @classmethod
    def of(cls, run: RunDir, against: RunDir | None, bits: int) -> "NearDuplicates":
        """Return them, if the other run has hashes; arguments as above.

        Raises:
            BadInput: it has none.
        """
        if against:
            for one in _directories(against):
                if one.unfinished(0):
                    raise BadInput(
                        f"against={against.name} is not scored whole by basic, whose phash is compared: "
                        f"run python -m jobs.score {against.name} scorers=[basic] first"
                    )
        return cls(run, against, bits)

    def find(self, say: Callable[[str], None]) -> bool:
        """Find them and write the tables, unless they are there; return whether they are now.

        They are found anew when there are more hashes than before: the run has grown, or was not finished.
        """
        hashed = _directories(self.run)
        if any(one.unfinished(0) for one in hashed):
            say(f"{DUPLICATES} are found when basic has scored all that there is")
            return False
        targets = [ScoreDir(one.of, DUPLICATES) for one in hashed]
        inputs = _digest([*hashed, *(_directories(self.against) if self.against else [])])
        try:
            for one in targets:
                one.reopen()
            records = [self._record(one, inputs) for one in targets]
            if all(_is_there(one, record) for one, record in zip(targets, records, strict=True)):
                say(f"{targets[0].name}: there already")
                return True
            self._write(hashed, targets, records, say)
        except (OSError, BadInput) as error:
            say(f"problem: {disk_trouble(error, targets[0].path) or error}")
            return False
        return True

    def _record(self, target: ScoreDir, inputs: str) -> dict[str, Any]:
        base = target.of.read()
        other = self.against.read()["id"] if self.against else None
        return {
            "version": __version__,
            "name": DUPLICATES,
            "identity": {"run": base["id"], "scorer": DUPLICATES, "version": 1, "bits": self.bits, "against": other},
            "inputs": inputs,
            "samples": base["samples"],
            "shards": base["shards"],
            "shard_size": base["shard_size"],
            "blocks": [*Shards.of(base).blocks],
            "created": time.time(),
        }

    def _write(
        self, hashed: list[ScoreDir], targets: list[ScoreDir], records: list[dict[str, Any]], say: Callable[[str], None]
    ) -> None:
        tables = {(one.path, shard): one.table(shard) for one in hashed for shard in sorted(one.done_shards())}
        others = [pair for one in (_directories(self.against) if self.against else []) for pair in _hashes_of(one)]
        name = self.against.read()["name"] if self.against else ""
        found = near_duplicates(
            [pair for table in tables.values() for pair in _hashes(table)],
            self.bits,
            [(f"{name}:{key}", value) for key, value in others],
        )
        for source, target, record in zip(hashed, targets, records, strict=True):
            _rewrite(target, record, {shard: tables[source.path, shard] for shard in source.done_shards()}, found)
        say(f"{targets[0].name}: {len(found):,} near duplicates among {sum(map(len, tables.values())):,} samples")


def open_other(against: str | None, run: RunDir, work_path: Path) -> RunDir | None:
    """Return the run that ``against`` names.

    Args:
        against: its directory, or its address in a store.
        run: that is scored.
        work_path: where runs that are given by their addresses work.

    Raises:
        BadInput: it is none, or this one.
    """
    if against is None:
        return None
    other = working(against, work_path / "against", "against")  # apart: it may have the name of the run
    if other.read()["id"] == run.read()["id"]:
        raise BadInput(f"against={against} is the run that is scored: name another one, or leave it out")
    return other


def _directories(run: RunDir) -> list[ScoreDir]:
    """Return where the hashes of a run lie, and of the passes over its failed samples."""
    return [ScoreDir(of, HASHES) for of in (run, *run.retries())]


def _hashes(table: pa.Table) -> list[tuple[str, str]]:
    pairs = zip(table["key"].to_pylist(), table["phash"].to_pylist(), strict=True)
    return [(key, value) for key, value in pairs if value is not None]


def _hashes_of(directory: ScoreDir) -> list[tuple[str, str]]:
    return [pair for shard in sorted(directory.done_shards()) for pair in _hashes(directory.table(shard))]


def _digest(directories: list[ScoreDir]) -> str:
    """Name what all these tables were made of."""
    text = "".join(f"{one.scored(shard)}\n" for one in directories for shard in sorted(one.done_shards()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_there(target: ScoreDir, record: dict[str, Any]) -> bool:
    if not target.exists() or target.unfinished(0):
        return False
    old = target.read()
    return (old["identity"], old["inputs"]) == (record["identity"], record["inputs"])


def _rewrite(target: ScoreDir, record: dict[str, Any], hashed: dict[int, pa.Table], found: dict[str, str]) -> None:
    together(lambda shard: target.remove(target.done_record(shard)), target.done_shards())  # from here on none counts
    target.begin(record)
    together(lambda shard: _publish(target, shard, hashed[shard], found), sorted(hashed))


def _publish(target: ScoreDir, shard: int, hashed: pa.Table, found: dict[str, str]) -> None:
    rows = [
        {"key": key, "sample_index": index, "status": OK, "reason": "", "near_duplicate_of": found.get(key)}
        for key, index in zip(hashed["key"].to_pylist(), hashed["sample_index"].to_pylist(), strict=True)
    ]
    data = table_bytes(rows, {"near_duplicate_of": pa.string()})
    target.put(target.sidecar(shard), data)
    record = {
        "shard": shard,
        "samples": len(rows),
        "failed": [],
        "reasons": {},
        "flagged": 0,
        "sha256": hashlib.sha256(data).hexdigest(),
        "tar_sha256": tar_hash(target.of, shard),
        "seconds": 0.0,
        "version": __version__,
        "finished": time.time(),
    }
    target.put(target.done_record(shard), json_bytes(record))
