"""How far runs are, seen again and again at little cost: of journals what is new is read, and hardly parsed."""

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobs.report.status import WINDOW, duration
from jobs.run.work import Work

# Rows of journals (jobs.store.attempt) begin with what they are.
_MADE = re.compile(rb'^\{"sample": (\d+)', re.MULTILINE)
_FAILED = re.compile(rb'^\{"failed"', re.MULTILINE)


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
class _Read:
    """What was read of one journal: up to where, and which samples it has."""

    shard: int
    offset: int = 0
    samples: set[int] = field(default_factory=set)


@dataclass
class Progress:
    """Looks at some shards of some runs. Of journals only what is new is read, and no number goes backwards.

    Attributes:
        asked: each run, and the shards of it that are waited for.
    """

    asked: list[tuple[Work, set[int]]]
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _read: dict[Path, _Read] = field(default_factory=dict)
    _most: int = 0
    _tried: int = 0

    def done(self) -> int:
        """Return how many of the shards are done."""
        return sum(len(run.directory.done_shards() & shards) for run, shards in self.asked)

    def work(self) -> int:
        """Return a number that grows with each sample that is made, or tried in vain."""
        return self.look().made + self._tried

    def look(self) -> Glance:
        """Count shards and samples."""
        done = made = 0
        for run, shards in self.asked:
            finished = run.directory.done_shards() & shards
            done += len(finished)
            made += sum(len(run.layout.shard_range(shard)) for shard in finished)
            made += len(self._in_journals(run, shards - finished))
        # Attempts vanish as others copy what they have, and are seen neither here nor there for a moment.
        made = self._most = max(self._most, made)
        now = time.monotonic()
        self._seen.append((now, made))
        while self._seen[0][0] < now - WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        rate = (made - before) / (now - since) if made > before else None
        samples = sum(len(run.layout.shard_range(shard)) for run, shards in self.asked for shard in shards)
        return Glance(sum(len(shards) for _, shards in self.asked), done, samples, made, rate)

    def _in_journals(self, run: Work, shards: set[int]) -> set[int]:
        """Return the samples of these shards that the attempts at them have made together."""
        sizes = dict(_journals(run.directory.work))
        for path in [path for path in self._read if path.parent == run.directory.work and path not in sizes]:
            del self._read[path]  # published
        for path, size in sizes.items():
            stem = path.name.partition(".")[0]
            if stem.isdecimal() and size != self._read.setdefault(path, _Read(int(stem))).offset:
                self._read_on(path)
        of_run = (read for path, read in self._read.items() if path in sizes and read.shard in shards)
        return set().union(*(read.samples for read in of_run))

    def _read_on(self, path: Path) -> None:
        read = self._read[path]
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:  # published meanwhile
            file.seek(read.offset)
            text = file.read()
            text = text[: text.rfind(b"\n") + 1]  # the last line may be in the writing
            read.offset += len(text)
            read.samples.update(map(int, _MADE.findall(text)))
            self._tried += len(_FAILED.findall(text))


def _journals(work: Path) -> Iterator[tuple[Path, int]]:
    """Yield each journal of a run and its size."""
    with contextlib.suppress(FileNotFoundError), os.scandir(work) as entries:
        for entry in entries:
            if entry.name.endswith(".jsonl"):
                with contextlib.suppress(FileNotFoundError):  # published meanwhile
                    yield work / entry.name, entry.stat().st_size
