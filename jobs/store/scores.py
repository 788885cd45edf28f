"""Scores of a run: tables beside its sidecars, one directory a scorer, made and recorded as the run's shards are.

    RUN/scores/basic/meta/00003.parquet   a row for each sample of shard 3 that has a file
                     done/00003.json      done record, written last, with the hash of the tar that was scored
                     work/  logs/         attempts
                     run.json             what is measured; another scorer, or other settings, are refused
    RUN/scores/basic.retry-1/             of the samples of RUN/retry-1 (jobs.run.retry)

Tars and sidecars of the run stay as they are. Of a run in a store tables and records are there, and here are
copies (jobs.store.mirror_scores).
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.base.differences import differences
from jobs.base.errors import BadInput
from jobs.store.atomic import json_bytes
from jobs.store.rundir import FORMAT, RunDir
from jobs.store.sidecar import whole

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

KEYS = ("key", "sample_index", "status", "reason")  # of each table, beside the scores
_FOLDERS = ("meta", "done", "work", "logs")


class ScoreDir(RunDir):
    """One scorer's directory.

    Attributes:
        of: the run, or the pass over its failed samples, whose samples it is about.
        scorer: the scorer's name.
    """

    anew = "delete that folder to score again"

    def __init__(self, of: RunDir, scorer: str):
        run, suffix = _run_of(of)
        name = f"scores/{scorer.replace(':', '.')}{suffix}"
        super().__init__(run.path / name, f"{run.url}/{name}" if run.url else "")
        self.of, self.scorer = of, scorer

    def unfinished(self, num_shards: int) -> list[int]:
        """Return the shards that the run has and that are not scored, in order."""
        return sorted(self.of.done_shards() - self.done_shards())

    def begin(self, record: dict[str, Any]) -> None:
        """Make the directory, or bring its record up to date with a run that has grown, or of which nothing is scored.

        Raises:
            BadInput: it holds other scores.
        """
        self.check_same(record["identity"])
        if self.exists() and self.read()["identity"] != record["identity"]:
            shutil.rmtree(self.work, ignore_errors=True)
        for name in _FOLDERS:
            (self.path / name).mkdir(parents=True, exist_ok=True)
        self.record_url()
        record = {"format": FORMAT, **record}
        if not self.exists():
            self.put_new(self.path / "run.json", json_bytes(record))
        elif {**self.read(), "created": 0} != {**record, "created": 0}:
            self.put(self.path / "run.json", json_bytes({**record, "created": self.read()["created"]}))

    def check_same(self, identity: dict[str, Any]) -> None:
        """Refuse to go on with other scores.

        Raises:
            BadInput: they are here; names every difference.
        """
        if not self.exists() or not self.done_shards():
            return
        if said := differences(self.read()["identity"], identity):
            raise BadInput(
                f"{self.name} holds other scores: {'; '.join(said)}: set these back to go on, or delete that folder to "
                "score again"
            )

    def reopen(self) -> None:
        """Forget the scores of shards that have other bytes by now, because the run has more prompts, or no table."""
        for shard in self.done_shards():
            if self.scored(shard) != tar_hash(self.of, shard) or not has_its_table(self, shard):
                self.remove(self.done_record(shard))

    def is_whole(self, shard: int, record: dict[str, Any]) -> bool:
        """Return whether a done record tells of the tar that the run has by now, and of the table that is here."""
        return bool(
            record["tar_sha256"] == tar_hash(self.of, shard) and record["sha256"] == _file_hash(self.sidecar(shard))
        )

    def scored(self, shard: int) -> str | None:
        """Return the hash of the tar whose samples were scored; None where none was."""
        return _text(self.done_record(shard), "tar_sha256")

    def given_up(self, shard: int) -> list[int]:
        """Return the samples of a scored shard that have no scores, because scoring them failed too often."""
        failed: list[int] = json.loads(self.done_record(shard).read_text())["failed"]
        return failed

    def sha256(self, shard: int) -> str | None:
        """Return the hash of a shard's table, by its done record."""
        return _text(self.done_record(shard), "sha256")

    def table(self, shard: int) -> "pyarrow.Table":
        """Return a shard's scores, with ``KEYS``.

        Raises:
            BadInput: they cannot be read.
        """
        with self._opened(shard) as file:
            return file.read(use_threads=False)

    def schema(self, shard: int) -> "pyarrow.Schema":
        """Return the columns of a shard's scores; see ``table``."""
        with self._opened(shard) as file:
            return file.schema_arrow

    @contextlib.contextmanager
    def _opened(self, shard: int) -> "Iterator[pyarrow.parquet.ParquetFile]":
        import pyarrow.parquet as pq

        path, record = self.sidecar(shard), self.name_of(self.done_record(shard))
        if path.exists() and not has_its_table(self, shard):
            raise BadInput(f"{self.name_of(path)} is not the table that {record} tells of: score again")
        with whole(self.name_of(path), f"delete {record} and score again"), open(path, "rb") as file:
            yield pq.ParquetFile(file)


def score_dirs(of: RunDir) -> list[ScoreDir]:
    """Return what was measured of a run's samples, or of a pass's, by the scorers' names."""
    run, suffix = _run_of(of)
    found = []
    for record in sorted((run.path / "scores").glob("*/run.json")):
        stem, _, ending = record.parent.name.partition(".retry-")
        if (f".retry-{ending}" if ending else "") == suffix:
            found.append(ScoreDir(of, _text(record, "name") or stem))
    return found


def has_its_table(directory: RunDir, shard: int) -> bool:
    """Return whether the table of a scored shard is the one that its done record tells of; copies here are read."""
    found = _file_hash(directory.sidecar(shard))
    return found is not None and found == _text(directory.done_record(shard), "sha256")


def tar_hash(of: RunDir, shard: int) -> str | None:
    """Return the hash of a finished shard's tar; None where it is not finished."""
    return _text(of.done_record(shard), "sha256")


def _run_of(of: RunDir) -> tuple[RunDir, str]:
    """Return the run beside whose sidecars scores lie, and what tells those of a pass over its failed samples."""
    if of.path.name.startswith("retry-") and (of.path.parent / "run.json").exists():
        return RunDir(of.path.parent, of.url.rpartition("/")[0]), f".{of.path.name}"
    return of, ""


def _file_hash(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def _text(path: Path, name: str) -> str | None:
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        return str(json.loads(path.read_text())[name])
    return None
