"""Which samples a report shows: all where they are few, else one out of each equal part; failures likewise."""

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jobs.store.rundir import RunDir

_GOLDEN = 0x9E3779B1  # its multiples, modulo 2^32, are spread evenly


@dataclass(frozen=True)
class Done:
    """A finished shard, of the run or of a later pass over its failed samples.

    Attributes:
        directory: the run's, or the pass's.
        shard: its number there.
        folder: the directory's path from the run's: ``""``, or ``retry-1/``.
        samples: how many are in its tar.
        failed: how many were given up.
        seconds: that attempts at it spent on generating, audits too, and on waiting for its files to be written.
        finished: when it was published, in seconds since 1970.
    """

    directory: RunDir
    shard: int
    folder: str
    samples: int
    failed: int
    seconds: float
    finished: float

    @property
    def tar(self) -> str:
        """Path of its tar from the run's directory."""
        return f"{self.folder}data/{self.directory.tar(self.shard).name}"


def finished_shards(run: RunDir) -> list[Done]:
    """Return the run's finished shards in order, and behind them those of later passes."""
    return [*_of(run, ""), *(one for later in run.retries() for one in _of(later, f"{later.path.name}/"))]


def _of(directory: RunDir, folder: str) -> Iterator[Done]:
    for shard in sorted(directory.done_shards()):
        record: dict[str, Any] = json.loads(directory.done_record(shard).read_text())
        seconds = sum(one["generating"] + one["waiting"] for one in record["attempts"])
        yield Done(directory, shard, folder, record["samples"], len(record["failed"]), seconds, record["finished"])


def spread(total: int, most: int) -> Sequence[int]:
    """Return at most ``most`` of ``total`` places, in order: one of each equal part, now here, now there in it.

    Every hundredth would show the same repeat of each prompt, or the same row of a prompt list that is a table.
    """
    if total <= most:
        return range(total)
    bounds = [part * total // most for part in range(most + 1)]
    return [
        begin + ((part * _GOLDEN) % 2**32 * (end - begin) >> 32) for part, (begin, end) in enumerate(pairwise(bounds))
    ]


def shares(counts: Sequence[int], most: int) -> list[list[int]]:
    """Spread places over several shards.

    Args:
        counts: how many places each shard has.
        most: how many are wanted.

    Returns:
        Of each shard the chosen places in it.
    """
    chosen = spread(sum(counts), most)
    found, begin = [], 0
    for count in counts:
        first, last = bisect_left(chosen, begin), bisect_left(chosen, begin + count)
        found.append([place - begin for place in chosen[first:last]])
        begin += count
    return found
