"""One process working on one shard: its own partial tar, its journal, and what it takes over from others.

An attempt writes two files that nobody else writes:

    work/00003.<attempt>.tar     the samples that it made, in order, without end of archive
    work/00003.<attempt>.jsonl   the journal (jobs.store.journal): who is at work, what it tries, then each sample

What earlier attempts made stays where it is until the shard is complete. Then everything is copied once, in order,
into one more attempt (``joined``), which is published: however often a shard was interrupted, no sample is written
more than twice.
"""

import contextlib
import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs import __version__
from jobs.dataset.shards import shard_name
from jobs.store.journal import JOINED, copies_of, deaths_of, journals
from jobs.store.process import process_identity, slurm_job
from jobs.store.rundir import RunDir

FINAL = 1 << 30  # more strikes than anybody may ask for


class Attempt:
    """The writing side. Samples must be appended in the shard's order; ``jobs.store.publish`` finishes it."""

    def __init__(
        self,
        run: RunDir,
        shard: int,
        *,
        fingerprint: str,
        device: str,
        log: str,
        ranks: int = 1,
        gpu: bool = False,
        loading: float = 0.0,
        calibrating: float = 0.0,
        joins: str = "",
    ):
        """Open new files and find what earlier attempts left.

        Args:
            fingerprint: digest of everything that decides a sample's bytes beyond the run's identity (library
                versions); only attempts with the same one are taken over.
            device: where samples are generated, for the sidecar.
            log: path of the log file of this process, for ``jobs.status``.
            ranks: processes, hence devices, that make each of its samples.
            gpu: whether these are GPUs.
            loading: seconds that this process took until the model was there, of its first attempt; 0 of others.
            calibrating: likewise for its part of the run's own calibration.
            joins: name of the attempt whose samples, and those that it inherits, are copied into this one.
        """
        self.run, self.shard, self.fingerprint = run, shard, fingerprint
        self.name = f"{time.time_ns():x}-{socket.gethostname()}-{os.getpid()}"
        self.log_path, self.ranks = log, ranks
        self.origin = {
            "attempt": self.name,
            "host": socket.gethostname(),
            "device": device,
            "version": __version__,
        }
        earlier = list(journals(run, shard))
        self.earlier_failures = [row for journal in earlier for row in journal.failed]
        self.strikes = strikes_of(self.earlier_failures)
        self.deaths = deaths_of(earlier, fingerprint)
        # The newest copy first, and before all that of the attempt to be joined: when a batch is made again because one
        # of its samples failed, the others come out of another call than they did before.
        newest = [*reversed([one for one in earlier if one.header["attempt"] != joins])]
        own = [one for one in earlier if one.header["attempt"] == joins]
        self._copies = copies_of([*own, *newest], fingerprint, run.tar(shard))
        self.rows: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.inherited: set[int] = set()
        self.spent = {"generating": 0.0, "waiting": 0.0}  # seconds of the generating thread, kept up by the worker
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
                "ranks": ranks,
                "gpu": gpu,
                "loading": loading,
                "calibrating": calibrating,
                "joins": joins,
            }
        )

    def joined(self) -> "Attempt":
        """End this attempt and return one into which its samples, and those that it inherits, can be copied."""
        self.end(JOINED)
        return Attempt(
            self.run,
            self.shard,
            fingerprint=self.fingerprint,
            device=self.origin["device"],
            log=self.log_path,
            ranks=self.ranks,
            joins=self.name,
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

    def inherits(self, index: int) -> bool:
        """Return whether an earlier attempt left sample ``index`` whole (checked against its hash now)."""
        return self._inherited(index) is not None

    def _inherited(self, index: int) -> bytes | None:
        copies = self._copies[index]
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

    def inherit(self, index: int) -> None:
        """Leave sample ``index`` to the attempt that made it; it is copied when the shard is complete."""
        self.inherited.add(index)

    def copy(self, index: int) -> None:
        """Append sample ``index`` from an earlier attempt, with that attempt's provenance.

        Raises:
            OSError: it was whole a moment ago and is not any more (another attempt published the shard).
        """
        data = self._inherited(index)
        if data is None:
            raise OSError(f"sample {index} of shard {self.shard} vanished from an earlier attempt's partial")
        self._append(data, self._copies[index][0][1])

    def trying(self, indices: list[int], sound: bool = False) -> None:
        """Write down what is about to be made: should the process die of it, the next attempt knows of what.

        Args:
            indices: of the samples; none: what follows is no call.
            sound: whether this process has made others before.
        """
        with contextlib.suppress(ValueError):  # ended meanwhile, by the writer; its next call says why
            self._write_row({"trying": indices, "sound": sound, "at": time.time()})

    def append(
        self,
        index: int,
        names: list[str],
        data: bytes,
        *,
        media_sha256: str,
        seconds: float,
        flagged: bool = False,
        audit: dict[str, Any] | None = None,
        adapted: str = "",
        sha256: str | None = None,
    ) -> None:
        """Append a new sample.

        Args:
            names: its tar members, in order.
            data: those members as bytes (``jobs.store.tar.sample_bytes``).
            media_sha256: of the picture or clip itself, for the sidecar.
            seconds: its share of the time its batch took to generate.
            flagged: whether a safety checker flagged it.
            audit: how near it is to the same sample with all steps: key, psnr (dB), ssim, floor; None where unknown.
            adapted: what was done for want of memory.
            sha256: hex digest of ``data``, where the caller has it already.
        """
        row = {"sample": index, "names": names, "media_sha256": media_sha256, "seconds": seconds, "flagged": flagged}
        row |= {"audit": audit} if audit else {}
        row |= {"adapted": adapted} if adapted else {}
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

    def fail(self, index: int, key: str, error: str, *, strike: bool = True, final: bool = False) -> None:
        """Record that sample ``index`` could not be made.

        A strike brings it nearer to being given up; a final failure gives it up, since a new attempt would come to the
        same.
        """
        row = {"failed": index, "key": key, "error": error, "strike": strike, "final": final, **self.origin}
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
                self._write_row({"ended": how, "error": error, "at": time.time(), "spent": self.spent})
            for file in (self._log, self._tar):  # closing can find the disk full too
                with contextlib.suppress(OSError):
                    file.close()


def strikes_of(failures: Iterable[dict[str, Any]]) -> Counter[int]:
    """Return how often each sample was to blame, from journal rows; a final failure counts for all that may be."""
    strikes = Counter(row["failed"] for row in failures if row["strike"])
    return strikes + Counter({row["failed"]: FINAL for row in failures if row["final"]})
