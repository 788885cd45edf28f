"""The scoring of a run by one scorer, as work for pools, tasks and launches (``jobs.execute.work``)."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs import __version__
from jobs.base.errors import BadInput
from jobs.dataset.shards import Shards, parse_shards
from jobs.execute.halt import Halt
from jobs.options.degrees import Degrees
from jobs.options.schema import Options
from jobs.score.scorers import Scorer
from jobs.store.rundir import RunDir
from jobs.store.scores import ScoreDir
from jobs.store.writer import Report


@dataclass(frozen=True)
class Scoring:
    """One scorer over one run's directory; small to pickle.

    Attributes:
        options: of ``jobs.generate``, of which those count that say where work is done.
        of: the run, or a pass over its failed samples.
        record: its run.json.
        scorer: what measures.
        batch_size: samples that it gets at a time.
    """

    options: Options
    of: RunDir
    record: dict[str, Any] = field(repr=False)
    scorer: Scorer
    batch_size: int

    @classmethod
    def of_run(cls, options: Options, of: RunDir, record: dict[str, Any], scorer: Scorer, batch: int) -> "Scoring":
        """Return the scoring of a run's directory, or a pass's.

        Args:
            options: see above; the model's part says what a process of the scorer needs.
            of, record, scorer: see above.
            batch: samples that it gets at a time.
        """
        model = replace(options.model, name=scorer.name, gpus=scorer.gpus)
        return cls(replace(options, model=model, parallel=Degrees()), of, record, scorer, batch)

    @property
    def directory(self) -> ScoreDir:
        """Where its tables and journals lie."""
        return ScoreDir(self.of, self.scorer.name)

    @property
    def layout(self) -> Shards:
        """The run's shards."""
        return Shards.of(self.record)

    @property
    def workers(self) -> int:
        """Processes on this machine."""
        return self.options.ngpu

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the scores."""
        batch = {"batch_size": self.batch_size} if self.scorer.by_batch else {}
        return {"run": self.record["id"], **self.scorer.identity, **batch}

    @property
    def fingerprint(self) -> str:
        """Name what an earlier attempt must agree in."""
        from jobs.score.shard import fingerprint

        return fingerprint(self.identity)

    @property
    def inputs(self) -> list[Path]:
        """What its processes read."""
        return [self.of.path.parent, *(folder.parent for folder in self.of.mounted), *self.scorer.inputs]

    @property
    def weight_bytes(self) -> int:
        """Bytes of the scorer's files."""
        return sum(path.stat().st_size for folder in self.scorer.inputs for path in _weights(folder))

    @property
    def sample_seconds(self) -> float:
        """See ``Scorer``."""
        return self.scorer.sample_seconds

    @property
    def preloaded(self) -> list[str]:
        """See ``OtherWork``: to measure pixels takes no diffusers and no transformers."""
        return ["jobs.execute.preload"] if self.weight_bytes else ["torch", "jobs.score.shard"]

    def create(self) -> None:
        """Make the directory, or go on in it.

        Raises:
            BadInput: it cannot be made, or holds other scores.
        """
        record = {
            "version": __version__,
            "name": self.scorer.name,
            "identity": self.identity,
            "samples": self.layout.num_samples,
            "shards": self.layout.num_shards,
            "shard_size": self.layout.shard_size,
            "blocks": [*self.layout.blocks],
            "created": time.time(),
        }
        try:
            self.directory.begin(record)
            self.directory.reopen()
        except OSError as error:
            raise BadInput(f"{self.directory.path} cannot be made: {error.strerror}") from None

    def check(self) -> None:
        """See ``OtherWork``."""
        if self.directory.read()["identity"] != self.identity:
            raise BadInput(f"{self.directory.path} holds other scores by now: run the same command again")
        self.scorer.check()

    def unfinished(self) -> list[int]:
        """Return the finished shards of the run that are not scored, among ``shards=`` where that was given."""
        left = self.directory.unfinished(self.layout.num_shards)
        if self.options.shards is not None:
            asked = {*parse_shards(self.options.shards, self.layout.num_shards)}
            left = [shard for shard in left if shard in asked]
        return left

    def make(self, shards: Iterable[int], *, device: str, log_path: str, report: Report, halt: Halt) -> float:
        """See ``OtherWork``."""
        from jobs.score.shard import score_shards  # which imports torch

        return score_shards(self, shards, device=device, log_path=log_path, report=report, halt=halt)


def _weights(path: Path) -> list[Path]:
    files = [path] if path.is_file() else [*path.glob("*.safetensors")] or [*path.glob("*.bin")]
    return [file for file in files if file.suffix in (".safetensors", ".bin", ".pth", ".pt")]
