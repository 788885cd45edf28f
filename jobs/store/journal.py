"""What an attempt at a shard leaves on disk, and who reads it: takeover, status, the sweep.

A journal line says which bytes of the partial tar are a sample and their sha256. That makes takeover safe at any
instant, with no fsync on the way: a later attempt copies whatever still has the recorded hash and makes the rest
again. The journal's modification time is the attempt's heartbeat.
"""

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.base.times import SILENT
from jobs.dataset.shards import shard_name
from jobs.store.process import HOST, lives_here
from jobs.store.rundir import RunDir

REOPENED = "reopened"
JOINED = "joined"  # its samples went on into another attempt
STOPPED = "stopped"  # in order, between batches or cut off: nobody is to blame
DIED = "died"  # its process was killed by a signal
LOST = "lost"  # it lost a rank of its group
Copy = tuple[Path, dict[str, Any]]  # a file, and the journal row that says where in it a sample is


@dataclass
class Journal:
    """What one attempt left on disk, read leniently: a torn last line is what a kill leaves, not an error."""

    path: Path
    header: dict[str, Any]
    samples: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    trying: list[int] = field(default_factory=list)  # the samples that it tried last
    sound: bool = False  # whether its process had made others before
    ended: dict[str, Any] | None = None

    @property
    def partial(self) -> Path:
        """The attempt's partial tar."""
        return self.path.with_suffix(".tar")

    @property
    def reopened(self) -> bool:
        """Whether it tells of a published shard that has more samples by now."""
        return self.ended is not None and self.ended["ended"] == REOPENED

    @classmethod
    def read(cls, path: Path) -> "Journal | None":
        """Read a journal; None when the file is gone or does not even hold a header."""
        rows = []
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return None
        for line in lines:
            with contextlib.suppress(ValueError):  # a torn or empty one: what a kill leaves
                rows.append(json.loads(line))
        if not rows or "attempt" not in rows[0]:
            return None
        journal = cls(path, rows[0])
        for row in rows[1:]:
            if "ended" in row:
                journal.ended = row
            elif "trying" in row:
                journal.trying, journal.sound = row["trying"], row.get("sound", False)
            elif "failed" in row:
                journal.failed.append(row)
            else:
                journal.samples.append(row)
            if row.get("sample", row.get("failed")) in journal.trying:
                journal.trying = []  # the call came back
        return journal

    @property
    def died(self) -> bool:
        """Whether its process ended without a word of its own."""
        return self.ended["ended"] in (DIED, LOST) if self.ended else not self.alive()

    def alive(self) -> bool:
        """Return whether the attempt's process still works on it.

        On the process's own host its pid answers at once; elsewhere only the heartbeat's age can.
        """
        if self.ended:
            return False
        here = lives_here(self.header["process"])
        if here is not None:
            return here
        try:
            return time.time() - self.path.stat().st_mtime < SILENT
        except FileNotFoundError:
            return False


def journals(run: RunDir, shard: int | None = None) -> Iterator[Journal]:
    """Yield the journals of a shard's attempts (of all shards when None), oldest first."""
    prefix = "" if shard is None else f"{shard_name(shard)}."
    try:
        names = sorted(name for name in os.listdir(run.work) if name.startswith(prefix) and name.endswith(".jsonl"))
    except FileNotFoundError:
        return
    for name in names:
        journal = Journal.read(run.work / name)
        if journal:
            yield journal


@dataclass(frozen=True)
class Death:
    """The end of a process in the middle of a call.

    Attributes:
        trying: the samples that it was making; none, if it came to no call.
        sound: whether it had made others before, so that neither machine nor model were broken.
        crashed: whether it was of its own doing (a segmentation fault, lack of memory), as far as anybody saw.
        words: how it ended.
    """

    trying: tuple[int, ...]
    sound: bool
    crashed: bool
    words: str


def deaths_of(earlier: list[Journal], fingerprint: str | None = None) -> list[Death]:
    """Return the deaths of a shard's attempts, oldest first.

    Args:
        earlier: the attempts' journals.
        fingerprint: of the environment that counts; None: any. What died of another version of a library says nothing.
    """
    return [
        Death(
            tuple(journal.trying),
            journal.sound,
            bool(journal.ended and journal.ended.get("crashed")),
            journal.ended["error"] if journal.ended else "its process ended without a message",
        )
        for journal in earlier
        if journal.died
        and (journal.trying or not journal.samples)
        and fingerprint in (None, journal.header.get("fingerprint"))
    ]


def write_end(run: RunDir, shards: Iterable[int], pid: int, how: str, error: str, *, crashed: bool = False) -> None:
    """Say in the journals of a process that is gone how it ended, which it could not say itself.

    Args:
        run: the run.
        shards: those that it was at.
        pid: of that process, on this machine.
        how: ``DIED`` or ``STOPPED``.
        error: the same in words.
        crashed: see ``Death``.
    """
    row = {"ended": how, "error": error, "at": time.time(), "crashed": crashed}
    for shard in shards:
        own = [journal for journal in journals(run, shard) if _is_of(journal, pid)]
        for journal in own[-1:]:  # an older one is of another process that had this pid
            with contextlib.suppress(OSError), open(journal.path, "ab") as file:
                file.write(b"\n" + json.dumps(row).encode() + b"\n")  # the kill may have torn the last line


def _is_of(journal: Journal, pid: int) -> bool:
    """Whether an attempt of this machine's process has not said in its own words how it ended."""
    process = journal.header["process"] or {}
    own = (process.get("pid"), process.get("host")) == (pid, HOST)
    return own and (not journal.ended or journal.died)


def copies_of(earlier: list[Journal], fingerprint: str, tar: Path) -> defaultdict[int, list[Copy]]:
    """Return sample index -> the copies somebody wrote; hashes are checked when one is used.

    An attempt killed between moving its tar into place and writing the done record left its samples in ``tar``.
    """
    found: defaultdict[int, list[Copy]] = defaultdict(list)
    for journal in earlier:
        if journal.header.get("fingerprint") == fingerprint:
            path = journal.partial if journal.partial.exists() else tar
            for row in journal.samples:
                found[row["sample"]].append((path, row))
    return found
