"""Shards: which samples each of them has, and their numbers as people and files write them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from jobs.base.errors import BadInput


@dataclass(frozen=True)
class Shards:
    """How samples that are numbered from 0 lie in shards.

    Attributes:
        blocks: numbers of samples; each block begins a shard, and the last shard of each may have fewer than others.
        shard_size: samples of a shard.
    """

    blocks: Sequence[int]
    shard_size: int

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Shards":
        """Return the shards of a run, by its run.json."""
        return cls(record.get("blocks", [record["samples"]]), record["shard_size"])

    @cached_property
    def first_samples(self) -> list[int]:
        """The number of each block's first sample, and last the number of samples."""
        return [0, *accumulate(self.blocks)]

    @cached_property
    def _first_shards(self) -> list[int]:
        """The number of each block's first shard, and last the number of shards."""
        return [0, *accumulate(-(-samples // self.shard_size) for samples in self.blocks)]

    @property
    def num_samples(self) -> int:
        return self.first_samples[-1]

    @property
    def num_shards(self) -> int:
        return self._first_shards[-1]

    def shard_range(self, shard: int) -> range:
        """Return the samples of a shard."""
        block = _at(self._first_shards, shard)
        start = self.first_samples[block] + (shard - self._first_shards[block]) * self.shard_size
        return range(start, min(start + self.shard_size, self.first_samples[block + 1]))

    def shard_of(self, sample: int) -> int:
        """Return the shard of a sample."""
        block = self.block_of(sample)
        return self._first_shards[block] + (sample - self.first_samples[block]) // self.shard_size

    def block_of(self, sample: int) -> int:
        """Return which block a sample is in."""
        return _at(self.first_samples, sample)


def _at(firsts: list[int], number: int) -> int:
    """Return the block that a number is in."""
    return min(bisect_right(firsts, number), len(firsts) - 1) - 1


def shard_name(shard: int) -> str:
    """Return five digits, more for shards beyond 99,999: the stem of every file of the shard."""
    return f"{shard:05d}"


def parse_shards(text: str, num_shards: int) -> list[int]:
    """Read a list like ``0-3,7`` (both ends included).

    Raises:
        BadInput: not of that form, or beyond the run's last shard.
    """
    shards: list[int] = []
    for part in str(text).replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"shards must look like [0-3,7], not '{text}'")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise BadInput(f"shards={text} ends before it begins: write '{high}-{low}'")
        if high >= num_shards:
            raise BadInput(f"shards={text} must lie within this run's shards, which are 0-{num_shards - 1}")
        shards.extend(range(low, high + 1))
    return sorted(set(shards))


def format_shards(shards: list[int]) -> str:
    """Return the inverse of ``parse_shards`` for a sorted list: ``[0, 1, 2, 7]`` -> ``0-2,7``."""
    parts: list[list[int]] = []
    for shard in shards:
        if parts and parts[-1][1] == shard - 1:
            parts[-1][1] = shard
        else:
            parts.append([shard, shard])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
