"""One run's directory: where everything lies, what the run is, and which shards are done.

data/00000.tar    the dataset; nothing but verified tars is ever here
meta/00000.parquet   sidecar: one row a sample of what varies between runs (seconds, host, attempt, ...)
done/00000.json   done record, written last: this file, and nothing else, makes a shard done
work/             partial tars and journals of attempts (see jobs.store.attempt)
logs/             one log a worker process or task
run.json          identity of the run
config.yaml       the resolved configuration it was created with
calibration.json  of a run that calibrated itself: how its steps are forecast (work/calibration-*/ while it is made,
                  see jobs.store.parts)
store.json        of a run whose output is a store: its address. The tars are there alone, and so is what counts of the
                  other records; those here are copies, written after (jobs.store.mirror)
"""

import json
import os
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, BinaryIO

from jobs.base.errors import BadInput
from jobs.dataset.shards import Shards, shard_name
from jobs.store.atomic import byte_lock, json_bytes, replace, write_bytes, write_json
from jobs.store.place import Place

FORMAT = 3
FOLDERS = ("data", "meta", "done", "work", "logs")
OUT_OF_REACH = "out-of-reach-"  # begins a file in work/calibration-*/: why a quality cannot be had


class RunDir(Place):
    """Paths and records of one run. Every answer is read from disk, so any process can give it.

    Attributes:
        anew: for messages: what to do where it cannot be gone on with.
    """

    anew = "use another exp_name"

    def __init__(self, path: Path, url: str = ""):
        super().__init__(path, url)
        self.data, self.meta, self.done, self.work, self.logs = (path / name for name in FOLDERS)
        self.calibration = path / "calibration.json"
        self.adopted = self.work / "adopted-calibration.json"  # of an earlier run, still to be measured on this one

    def below(self, name: str) -> "RunDir":
        """Return another run's directory in this one."""
        return RunDir(self.path / name, f"{self.url}/{name}" if self.url else "")

    def tar(self, shard: int) -> Path:
        return self.data / f"{shard_name(shard)}.tar"

    def sidecar(self, shard: int) -> Path:
        return self.meta / f"{shard_name(shard)}.parquet"

    def done_record(self, shard: int) -> Path:
        return self.done / f"{shard_name(shard)}.json"

    def publish_lock(self, shard: int) -> AbstractContextManager[bool]:
        """Held around the few renames that make a shard done."""
        return byte_lock(self.work / "publish.lock", shard)

    def put_tar(self, shard: int, partial: Path, sha256: str) -> None:
        """Bring a shard's complete and verified tar to its place; in a store it is read back.

        Raises:
            OSError: the disk does not take it.
            BadInput: the store does not.
        """
        self.check_there()
        if self.remote is None:
            replace(partial, self.tar(shard))
        else:
            changed = f"{partial} has other bytes than were written: start the same command again"
            self.remote.send(partial, self.within(self.tar(shard)), sha256, changed=changed)

    def check_there(self) -> None:
        """See that the store has the run, before something is published: elsewhere a folder may be mounted, here not.

        Raises:
            BadInput: it has not.
        """
        if self.remote and self.remote.mark("run.json") is None:
            raise BadInput(f"{self.url} has no run.json here: see that it is the same place on every machine")

    def open_tar(self, shard: int) -> BinaryIO:
        """Return the tar of a done shard, to be read from where it is."""
        if self.remote is None:
            return open(self.tar(shard), "rb")
        return self.remote.open(self.within(self.tar(shard)), self._tar_bytes(shard))

    def fetch_tar(self, shard: int, file: IO[bytes]) -> None:
        """Copy the tar of a done shard here, from a store.

        Raises:
            FileNotFoundError: it is not there.
            BadInput: the store does not answer.
        """
        assert self.remote
        self.remote.fetch(self.within(self.tar(shard)), file, self._tar_bytes(shard))

    def _tar_bytes(self, shard: int) -> int:
        return int(json.loads(self.done_record(shard).read_text())["bytes"])

    def is_done(self, shard: int) -> bool:
        return self.done_record(shard).exists()

    def done_shards(self) -> set[int]:
        """Shards with a done record."""
        return numbers(_names(self.done), ".json")

    def unfinished(self, num_shards: int) -> list[int]:
        """Shards without a done record, in order.

        Raises:
            BadInput: a shard is recorded as done but its tar was taken away.
        """
        done = self.done_shards()
        lost = [] if self.url else sorted(done - numbers(_names(self.data), ".tar"))
        if lost:
            record = self.done_record(lost[0])
            raise BadInput(
                f"{self.tar(lost[0])} is missing although {record} says it is done: "
                "put the tar back, or delete that record to make the shard again"
            )
        return [shard for shard in range(num_shards) if shard not in done]

    def shard_samples(self, shard: int) -> int:
        """Return how many samples a shard has by now."""
        return len(Shards.of(self.read()).shard_range(shard))

    def is_whole(self, shard: int, record: dict[str, Any]) -> bool:
        """Return whether a shard's done record tells of all samples that it has by now: the run may have grown."""
        return bool(record["samples"] + len(record["failed"]) >= self.shard_samples(shard))

    def record_task_failure(self, shards: list[int], reason: str, log: str) -> None:
        """Leave word of a task that ended before its shards: it may not have come to a first attempt."""
        name = f"task-{time.time_ns():x}-{os.uname().nodename}-{os.getpid()}.json"
        write_json(self.work / name, {"shards": shards, "reason": reason, "log": log})

    def task_failures(self) -> dict[Path, dict[str, Any]]:
        """Those words, by file, oldest first."""
        return {path: json.loads(path.read_text()) for path in sorted(self.work.glob("task-*.json"))}

    def calibrating(self, key: str, samples: int) -> Path:
        """Return the folder of a calibration in the making."""
        return self.work / f"calibration-{key}-{samples}"

    def out_of_reach(self, key: str, quality: float) -> Path | None:
        """Return the file that says why a calibration in the making has not that quality; None where none does."""
        return next(self.work.glob(f"calibration-{key}-*/{OUT_OF_REACH}{quality:g}"), None)

    def calibrations_begun(self) -> list[Path]:
        """Return the folders of calibrations in the making."""
        return sorted(self.work.glob("calibration-*"))

    def calibration_progress(self) -> tuple[int, int] | None:
        """Return how many samples of the calibration are made, and of how many; None where none is in the making."""
        begun = [] if self.calibration.exists() else self.calibrations_begun()
        if not begun:
            return None
        return len(list(begun[-1].glob("[0-9]*"))), int(begun[-1].name.rpartition("-")[2])

    def cancel(self) -> None:
        """Leave word that somebody cancelled the run's tasks: whoever waits for them must not submit more."""
        write_bytes(self.logs / "cancelled", b"")

    def cancelled(self) -> int:
        """Tell one cancelling from the next; 0 before the first."""
        try:
            return (self.logs / "cancelled").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def retries(self) -> list["RunDir"]:
        """The passes that were begun over this run's failed samples (``jobs.run.retry``), oldest first."""
        found = [path.name for path in self.path.glob("retry-*") if (path / "run.json").exists()]
        return [self.below(name) for name in sorted(found, key=lambda name: int(name.rpartition("-")[2]))]

    def read(self) -> dict[str, Any]:
        """Contents of run.json.

        Raises:
            BadInput: there is no run here, or one that only another version can go on with.
        """
        try:
            run: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except FileNotFoundError:
            raise BadInput(f"{self.path} is not a run: it has no run.json") from None
        except OSError as error:
            raise BadInput(f"{self.path / 'run.json'} cannot be read ({error.strerror}): mend that") from None
        except ValueError:
            raise BadInput(f"{self.path / 'run.json'} is not valid JSON: restore it, or {self.anew}") from None
        if not isinstance(run, dict):
            raise BadInput(f"{self.path / 'run.json'} is not a run's record: restore it, or {self.anew}")
        if run.get("format") != FORMAT:
            version = run.get("version", "0.1.0")  # which did not say so
            raise BadInput(
                f"{self.path} was begun by version {version} of this program, in a format that this one does not read: "
                f"finish it with that version, or {self.anew}"
            )
        return run

    def exists(self) -> bool:
        return (self.path / "run.json").exists()

    def create(self, record: dict[str, Any], config: str) -> None:
        """Write the records of a new run; ``run.json`` comes last, so that a run exists whole or not at all."""
        self.put(self.path / "config.yaml", config.encode())
        self.put_new(self.path / "run.json", json_bytes({"format": FORMAT, **record}))

    def make_folders(self) -> None:
        """Make the folders that are missing, and say in which store the run is; a copy of a run may lack some."""
        for name in FOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        self.record_url()

    def rewrite(self, record: dict[str, Any], config: str) -> None:
        """Replace the records of a run that has more prompts now, or in which nothing was made yet."""
        self.put(self.path / "config.yaml", config.encode())
        with byte_lock(self.work / "record.lock", 0):
            self.put(self.path / "run.json", json_bytes({"format": FORMAT, **record}))

    def create_calibration(self, data: bytes) -> bytes:
        """Write down the run's calibration, unless it has one; returns the one that it has now."""
        self.put_new(self.calibration, data)
        return self.calibration.read_bytes()

    def pin_calibration(self, digest: str, quality: dict[str, Any]) -> None:
        """Write down which calibration the run has and what it brings, unless that is known."""
        with byte_lock(self.work / "record.lock", 0):
            record = json.loads(self.remote.read("run.json")) if self.remote else self.read()
            if not record.get("calibration"):
                self.put(self.path / "run.json", json_bytes({**record, "calibration": digest, "quality": quality}))


def numbers(names: Iterable[str], suffix: str) -> set[int]:
    """Return the shards of which there is a file, by the names of files."""
    return {int(stem) for name in names if name.endswith(suffix) and (stem := name[: -len(suffix)]).isdecimal()}


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
