"""The scores of the runs of an export (``jobs.score``), as columns beside what the samples' json says."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from jobs.base.errors import BadInput
from jobs.export.source import Shard, SourceRun
from jobs.store.scores import KEYS, ScoreDir, score_dirs


class Scores:
    """What was measured of the samples of some runs.

    Attributes:
        types: column -> its type, in the order of the scorers' names.
        origins: column -> the scorer that made it, and where its scores are.
    """

    def __init__(self, runs: Sequence[SourceRun], *, partial: bool):
        """Find the scores.

        Args:
            runs: of the export.
            partial: whether shards may lack scores that others have; they are null then.

        Raises:
            BadInput: scores are not whole, or two scorers make a column of one name.
        """
        self._runs = runs
        self._directories = {
            directory.path: score_dirs(directory)
            for directory in {shard.directory.path: shard.directory for run in runs for shard in run.shards}.values()
        }
        self.types: dict[str, pa.DataType] = {}
        self.origins: dict[str, tuple[str, str]] = {}
        for run in runs:
            for shard in run.shards:
                for one in self._of(run, shard, partial):
                    self._note(one, shard)
        self.types = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in self.types.items()}

    def _of(self, run: SourceRun, shard: Shard, partial: bool) -> list[ScoreDir]:
        """Return where a shard's scores are; refuse where some are missing."""
        names = {one.scorer for own in run.shards for one in self._directories[own.directory.path]}
        found = {one.scorer: one for one in self._directories[shard.directory.path]}
        there = [found[name] for name in sorted(names & found.keys()) if self._is_scored(found[name], shard)]
        if not partial and (missing := sorted(names - {one.scorer for one in there})):
            raise BadInput(
                f"{run.directory.name} has scores of {missing[0]} for a part of its shards only: finish them with "
                f"python -m jobs.score {run.directory.name} scorers=[{missing[0]}], or add partial=true"
            )
        return there

    @staticmethod
    def _is_scored(directory: ScoreDir, shard: Shard) -> bool:
        return directory.scored(shard.number) == shard.sha256

    def _note(self, directory: ScoreDir, shard: Shard) -> None:
        """Take note of the columns of a shard's table, and of their types over all shards."""
        for field in directory.schema(shard.number):
            if field.name in KEYS:
                continue
            scorer, _ = self.origins.setdefault(field.name, (directory.scorer, directory.name))
            if scorer != directory.scorer:
                raise BadInput(
                    f"{self.origins[field.name][1]} and {directory.name} both have a column {field.name}: "
                    "delete one of the two folders"
                )
            self.types[field.name] = _common(self.types.get(field.name, pa.null()), field.type)

    def check_names(self, own: Sequence[str]) -> None:
        """Refuse columns that a table has anyway, and such as differ in capitals alone: SQL does not tell them apart.

        Raises:
            BadInput: names it.
        """
        taken = {name.casefold(): "every sample has by itself" for name in (*own, "metadata")}
        for name in self.types:
            _, folder = self.origins[name]
            if has := taken.get(name.casefold()):
                raise BadInput(f"{folder} has a column {name}, which {has}: let your scorer call it otherwise")
            taken[name.casefold()] = f"{folder} has too, in other capitals"

    def check_everywhere(self, text: str) -> None:
        """Refuse to choose by scores, named in SQL, that some runs have and others have not.

        Raises:
            BadInput: says which run to score.
        """
        for name, (scorer, _) in self.origins.items():
            if re.search(rf"\b{name}\b", text, re.IGNORECASE):
                for run in self._runs:
                    if scorer not in {one.scorer for one in self._directories[run.directory.path]}:
                        raise BadInput(
                            f"{run.directory.name} has no {name}, which is asked for: run "
                            f"python -m jobs.score {run.directory.name} scorers=[{scorer}] first"
                        )

    def described(self) -> dict[str, Any]:
        """Return, by run and scorer, what was measured and a hash of all of it; empty where nothing was."""
        found: dict[str, Any] = {}
        for run in self._runs:
            texts: dict[str, str] = {}
            settings: dict[str, Any] = {}
            for shard in run.shards:
                for one in self._directories[shard.directory.path]:
                    if self._is_scored(one, shard):
                        settings.setdefault(one.scorer, one.read()["identity"])
                        texts[one.scorer] = texts.get(one.scorer, "") + f"{shard.name}:{one.sha256(shard.number)}\n"
            if texts:
                found[f"{run.name} {run.run_id}"] = {
                    name: {
                        **{key: value for key, value in settings[name].items() if key != "run"},
                        "sha256": hashlib.sha256(text.encode()).hexdigest(),
                    }
                    for name, text in sorted(texts.items())
                }
        return found

    def add(self, shard: Shard, table: pa.Table) -> pa.Table:
        """Return a table with the scores as further columns.

        Args:
            shard: whose samples they are.
            table: with a column "sample_index".
        """
        own: dict[str, list[Any]] = {}
        if self.types:
            samples = table["sample_index"].to_pylist()
            for one in self._directories[shard.directory.path]:
                if self._is_scored(one, shard):
                    scored = one.table(shard.number)
                    places = {index: place for place, index in enumerate(scored["sample_index"].to_pylist())}
                    for name in scored.column_names:
                        if name not in KEYS:
                            values = scored[name].cast(self.types[name], safe=False).to_pylist()
                            own[name] = [values[places[index]] if index in places else None for index in samples]
        for name, kind in self.types.items():
            table = table.append_column(name, pa.array(own.get(name, [None] * table.num_rows), kind))
        return table


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return a type that holds both; texts where nothing else does, and where there is no value at all."""
    if pa.types.is_null(one) or one == other:
        return other
    if pa.types.is_null(other):
        return one
    return pa.float64() if {one, other} == {pa.int64(), pa.float64()} else pa.string()
