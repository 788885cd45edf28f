"""Whether the dataset of a run is what an undisturbed run of the same options makes."""

import hashlib
import json
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jobs.store.rundir import RunDir


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a dataset; all empty where nothing is.

    Attributes:
        lost: keys of samples that the reference has and the dataset has not.
        twice: keys that are there more than once.
        differing: tars whose bytes are not the reference's, missing ones among them.
        given_up: shards whose record tells of samples that were given up.
        leftovers: files in ``work/`` that a finished run does not need.
    """

    lost: list[str]
    twice: list[str]
    differing: list[str]
    given_up: list[int]
    leftovers: list[str]

    def __bool__(self) -> bool:
        return not any((self.lost, self.twice, self.differing, self.given_up, self.leftovers))


def check(path: Path, reference: Path) -> Verdict:
    """Compare a finished run with its reference.

    Args:
        path: directory of the run.
        reference: directory of an undisturbed run of the same options.
    """
    run = RunDir(path)
    wanted, found = _hashes(reference), _hashes(path)
    keys, expected = _keys(path), _keys(reference)
    records = {shard: json.loads(run.done_record(shard).read_text()) for shard in run.done_shards()}
    return Verdict(
        lost=sorted(expected.keys() - keys.keys()),
        twice=sorted(key for key, count in keys.items() if count > 1),
        differing=sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)),
        given_up=sorted(shard for shard, record in records.items() if record["failed"]),
        leftovers=sorted(name.name for pattern in ("0*.tar", "0*.jsonl") for name in run.work.glob(pattern)),
    )


def _hashes(path: Path) -> dict[str, str]:
    return {tar.name: hashlib.sha256(tar.read_bytes()).hexdigest() for tar in (path / "data").iterdir()}


def _keys(path: Path) -> Counter[str]:
    keys: Counter[str] = Counter()
    for tar in sorted((path / "data").iterdir()):
        with tarfile.open(tar) as archive:
            keys.update(name.removesuffix(".json") for name in archive.getnames() if name.endswith(".json"))
    return keys
