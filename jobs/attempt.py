"""One process working on one shard: its own partial tar, its journal, and what it takes over from others.

An attempt writes two files that nobody else writes:

    work/00003.<attempt>.tar     the samples so far, in order, without end of archive
    work/00003.<attempt>.jsonl   the journal: who is at work, then one line for each sample appended or failed

A journal line says which bytes of the partial are the sample and their sha256. That makes takeover safe at any
instant, with no fsync on the way: a later attempt copies whatever still has the recorded hash and makes the rest
again. The journal's modification time is the attempt's heartbeat.
"""

import contextlib
import hashlib
import json
import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.plan import shard_name
from jobs.rundir import RunDir

HEARTBEAT = 5.0  # seconds between heartbeats
SILENT = 60.0  # an attempt on another machine counts as gone after this many seconds without one


@dataclass
class Journal:
    """What one attempt left on disk, read leniently: a torn last line is what a kill leaves, not an error."""

    path: Path
    header: dict[str, Any]
    samples: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    ended: dict[str, Any] | None = None

    @property
    def partial(self) -> Path:
        return self.path.with_suffix(".tar")

    @classmethod
    def read(cls, path: Path) -> "Journal | None":
        """None when the file is gone or does not even hold a header."""
        rows = []
        try:
            for line in path.read_bytes().split(b"\n"):
                rows.append(json.loads(line))
        except FileNotFoundError:
            return None
        except ValueError:
            pass  # the torn or empty end
        if not rows or "attempt" not in rows[0]:
            return None
        journal = cls(path, rows[0])
        for row in rows[1:]:
            if "ended" in row:
                journal.ended = row
            elif "failed" in row:
                journal.failed.append(row)
            else:
                journal.samples.append(row)
        return journal

    def alive(self) -> bool:
        """Whether the attempt's process still works on it.

        On the process's own host its pid answers at once; elsewhere only the heartbeat's age can.
        """
        if self.ended:
            return False
        who = self.header["process"]
        if who["host"] == _HERE["host"]:
            return who == process_identity(who["pid"])
        try:
            return time.time() - self.path.stat().st_mtime < SILENT
        except FileNotFoundError:
            return False


def journals(run: RunDir, shard: int | None = None) -> Iterator[Journal]:
    """Journals of a shard's attempts (of all shards when None), oldest first."""
    prefix = "" if shard is None else f"{shard_name(shard)}."
    try:
        names = sorted(name for name in os.listdir(run.work) if name.startswith(prefix) and name.endswith(".jsonl"))
    except FileNotFoundError:
        return
    for name in names:
        journal = Journal.read(run.work / name)
        if journal:
            yield journal


def _host() -> str:
    """Name of this machine and of its process numbering: after a reboot or in another container pids mean nothing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = namespace = ""
    return f"{socket.gethostname()}/{boot}/{namespace}"


_HERE = {"host": _host()}


def process_identity(pid: int) -> dict[str, Any] | None:
    """Host, pid and start time of a process of this machine; None when there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else {**_HERE, "pid": pid, "start": fields[19]}


class Attempt:
    """The writing side. Samples must be appended in the shard's order; ``jobs.publish`` finishes it."""

    def __init__(self, run: RunDir, shard: int, *, fingerprint: str, device: str, log: str):
        """Open new files and find what earlier attempts left.

        Args:
            fingerprint: digest of everything that decides a sample's bytes beyond the run's identity (library
                versions); only attempts with the same one are taken over.
            device: where samples are generated, for the sidecar.
            log: path of the log file of this process, for ``jobs.status``.
        """
        self.run, self.shard = run, shard
        self.name = f"{time.time_ns():x}-{socket.gethostname()}-{os.getpid()}"
        self.origin = {"attempt": self.name, "host": socket.gethostname(), "device": device}
        earlier = list(journals(run, shard))
        self.earlier_failures = [row for journal in earlier for row in journal.failed]
        self.strikes = Counter(row["failed"] for row in self.earlier_failures if row["strike"])
        self._donors = _donors(earlier, fingerprint, run.tar(shard))
        self.rows: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.size = 0
        self.digest = hashlib.sha256()  # of every byte written: what the disk must give back
        stem = run.work / f"{shard_name(shard)}.{self.name}"
        self.partial, self.journal = Path(f"{stem}.tar"), Path(f"{stem}.jsonl")
        self._tar = open(self.partial, "xb", buffering=0)  # noqa: SIM115 (lives as long as the attempt)
        self._log = open(self.journal, "xb", buffering=0)  # noqa: SIM115
        self._write_row(
            {
                **self.origin,
                "shard": shard,
                "process": process_identity(os.getpid()),
                "slurm_job": slurm_job(),
                "fingerprint": fingerprint,
                "log": log,
                "started": time.time(),
            }
        )

    def _write_row(self, row: dict[str, Any]) -> None:
        self._log.write(json.dumps(row).encode() + b"\n")

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return not self._log.closed

    def beat(self) -> None:
        """Show that this attempt is alive."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            os.utime(self._log.fileno())

    def held(self, index: int) -> bool:
        """Whether an earlier attempt left sample ``index`` whole (checked against its hash now)."""
        return self._donated(index) is not None

    def _donated(self, index: int) -> bytes | None:
        copies = self._donors[index]
        while copies:
            path, row = copies[0]
            try:
                with open(path, "rb") as file:
                    file.seek(row["start"])
                    data = file.read(row["end"] - row["start"])
            except OSError:
                data = b""
            if hashlib.sha256(data).hexdigest() == row["sha256"]:
                return data
            copies.pop(0)
        return None

    def take_over(self, index: int) -> None:
        """Append sample ``index`` from an earlier attempt, with that attempt's provenance.

        Raises:
            OSError: it was whole a moment ago and is not any more (another attempt published the shard).
        """
        data = self._donated(index)
        if data is None:
            raise OSError(f"sample {index} of shard {self.shard} vanished from an earlier attempt's partial")
        self._append(data, self._donors[index][0][1])

    def append(
        self,
        index: int,
        names: list[str],
        data: bytes,
        *,
        media_sha256: str,
        seconds: float,
        sha256: str | None = None,
    ) -> None:
        """Append a new sample.

        Args:
            names: its tar members, in order.
            data: those members as bytes (``jobs.tar.sample_bytes``).
            media_sha256: of the picture or clip itself, for the sidecar.
            seconds: its share of the time its batch took to generate.
            sha256: hex digest of ``data``, where the caller has it already.
        """
        row = {"sample": index, "names": names, "media_sha256": media_sha256, "seconds": seconds}
        row |= {**self.origin, "at": time.time(), "sha256": sha256 or hashlib.sha256(data).hexdigest()}
        self._append(data, row)

    def _append(self, data: bytes, row: dict[str, Any]) -> None:
        start, self.size = self.size, self.size + len(data)
        self.write_tar(data)
        row = {**row, "start": start, "end": self.size}
        self._write_row(row)
        self.rows.append(row)

    def write_tar(self, data: bytes) -> None:
        """Write all of ``data`` to the partial."""
        self.digest.update(data)
        view = memoryview(data)
        while view:
            view = view[self._tar.write(view) :]

    def fail(self, index: int, key: str, error: str, *, strike: bool = True) -> None:
        """Record that sample ``index`` could not be made; a strike brings it nearer to being given up."""
        row = {"failed": index, "key": key, "error": error, "strike": strike, **self.origin}
        self._write_row(row)
        self.failures.append(row)

    def sync(self) -> None:
        """Put the partial on the disk and close it."""
        os.fsync(self._tar.fileno())
        self._tar.close()

    def end(self, how: str, error: str = "") -> None:
        """Close the files; the journal's last line says how it ended. Harmless when already ended; never raises."""
        if not self._log.closed:
            with contextlib.suppress(OSError):  # a full disk is a common reason to end
                self._write_row({"ended": how, "error": error, "at": time.time()})
            for file in (self._log, self._tar):  # closing can find the disk full too
                with contextlib.suppress(OSError):
                    file.close()


def _donors(earlier: list[Journal], fingerprint: str, tar: Path) -> defaultdict[int, list[tuple[Path, dict[str, Any]]]]:
    """Sample index -> (file, journal row) of each copy somebody wrote; hashes are checked when one is used.

    An attempt killed between moving its tar into place and writing the done record left its samples in ``tar``.
    """
    found: defaultdict[int, list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
    for journal in earlier:
        if journal.header.get("fingerprint") == fingerprint:
            path = journal.partial if journal.partial.exists() else tar
            for row in journal.samples:
                found[row["sample"]].append((path, row))
    return found


def slurm_job() -> str:
    """Job id as squeue shows it (``123_4`` for an array task), or "" outside Slurm."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "")
