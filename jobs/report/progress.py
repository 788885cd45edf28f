"""How far runs are, seen again and again at little cost: what is new on the disk is counted, nothing is parsed."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.report.status import WINDOW, duration
from jobs.run.run import Run


@dataclass(frozen=True)
class Glance:
    """Runs at one moment.

    Attributes:
        shards: that are waited for.
        done: how many of them are done.
        samples: in those shards.
        made: how many of them are made, in shards that are not done too.
        rate: samples a second lately; None where it is not known yet.
    """

    shards: int
    done: int
    samples: int
    made: int
    rate: float | None

    def __str__(self) -> str:
        parts = [f"{self.done:,} of {self.shards:,} shards", f"{self.made:,} of {self.samples:,} samples"]
        if self.rate:
            parts.append(f"{self.rate:.2f} samples/s, about {duration((self.samples - self.made) / self.rate)} to go")
        return ", ".join(parts)


@dataclass
class Progress:
    """Looks at some shards of some runs.

    Attributes:
        asked: each run, and the shards of it that are waited for.
    """

    asked: list[tuple[Run, set[int]]]
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def done(self) -> int:
        """Return how many of the shards are done."""
        return sum(len(run.directory.done_shards() & shards) for run, shards in self.asked)

    def work(self) -> int:
        """Return a number that grows with each sample that is made, or tried in vain."""
        tried = sum(text.count(b'{"failed"') for run, _ in self.asked for _, text in _journals(run))
        return self.look().made + tried

    def look(self) -> Glance:
        """Count shards and samples."""
        done = made = 0
        for run, shards in self.asked:
            finished = run.directory.done_shards() & shards
            done += len(finished)
            made += sum(len(run.layout.shard_range(shard)) for shard in finished)
            made += sum(count for shard, count in _in_journals(run).items() if shard in shards - finished)
        now = time.monotonic()
        self._seen.append((now, made))
        while self._seen[0][0] < now - WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        rate = (made - before) / (now - since) if made > before else None
        samples = sum(len(run.layout.shard_range(shard)) for run, shards in self.asked for shard in shards)
        return Glance(sum(len(shards) for _, shards in self.asked), done, samples, made, rate)


def _in_journals(run: Run) -> dict[int, int]:
    """Return unfinished shard -> samples that the attempt which is furthest has made."""
    counts: dict[int, int] = {}
    for name, text in _journals(run):
        stem = name.partition(".")[0]
        if stem.isdecimal():
            counts[int(stem)] = max(counts.get(int(stem), 0), text.count(b'"media_sha256"'))
    return counts


def _journals(run: Run) -> Iterator[tuple[str, bytes]]:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(run.directory.work):
            if name.endswith(".jsonl"):
                with contextlib.suppress(FileNotFoundError):  # published meanwhile
                    yield name, (run.directory.work / name).read_bytes()
