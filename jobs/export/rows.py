"""The samples of an export's shards as rows of its table, and which of them it has; where they lie is not known yet."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from jobs.export.choose import has_file, overruled
from jobs.export.filters import ROW, SOURCE, Chosen, choose, filters, how_to_score
from jobs.export.plan import prompt_hashes, splits_of
from jobs.export.scores import Scores
from jobs.export.source import SourceRun
from jobs.export.table import MetadataTypes, public_rows, public_schema, with_scores
from jobs.export.work import Work
from jobs.options.export import SPLITS, ExportOptions


class Rows:
    """Rows of all shards, a shard at a time; tables are read from the work directory when asked for.

    Attributes:
        splits: of each shard, the split of each row (int8).
        schema: the columns of the table.
        left_out: why samples that were made are not in the export -> how many.
    """

    def __init__(self, work: Work, runs: list[SourceRun], scores: Scores, options: ExportOptions):
        """Read which samples there are, and choose among them where that is asked for.

        Args:
            work: has the tables of all shards.
            runs: of the export.
            scores: of their samples.
            options: how the export is made.
        """
        self._work, self._scores = work, scores
        self._shards = [shard for run in runs for shard in run.shards]
        self._prefixes = [run.prefix for run in runs for _ in run.shards]
        self._overruled: dict[int, np.ndarray] = {}
        first = 0
        for run in runs:
            self._overruled |= self._tried_again(run, first)
            first += len(run.shards)
        self._metadata = MetadataTypes()
        self._hashes: list[np.ndarray] = []
        schemas: dict[pa.Schema, None] = {}
        for number in range(len(self._shards)):
            schemas[work.read_schema(number).remove_metadata()] = None
            table = work.read_index(number, ["prompt", "metadata"])
            self._hashes.append(prompt_hashes(table["prompt"].to_pylist()))
            if "metadata" in table.column_names:
                self._metadata.add(table["metadata"].to_pylist())
        self.splits = [splits_of(hashes, options.shares) for hashes in self._hashes]
        own = public_schema(schemas, self._metadata)
        scores.check_names(own.names)
        self.schema = with_scores(own, scores.types)
        self._chosen: Chosen | None = None
        if filters(options):
            folders = [run.directory.name for run in runs]
            scores.check_everywhere(f"{options.where} {options.by}")
            self._chosen = choose(work.path, options, self._candidates, lambda name: how_to_score(name, folders))
        self.left_out = self._chosen.left_out if self._chosen else {}

    def _tried_again(self, run: SourceRun, first: int) -> Mapping[int, np.ndarray]:
        """Return which rows of the shards of a run, the ``first``-th source and on, another of its shards overrules."""
        later = [number for number, shard in enumerate(run.shards, first) if shard.of_later_pass]
        if not later:
            return {}
        tables = (self._work.read_index(number, ["sample_index"]) for number in later)
        again = {index for table in tables for index in table["sample_index"].to_pylist()}
        numbers = range(first, first + len(run.shards))
        return overruled(
            ((number, self._work.read_index(number, ["sample_index", "status"])) for number in numbers), again
        )

    def listed(self, number: int, table: pa.Table) -> np.ndarray:
        """Return which rows of a shard the export has (bool), samples that were given up among them.

        Args:
            number: of the shard.
            table: its rows, with "status".
        """
        listed: np.ndarray = ~self._overruled.get(number, np.zeros(table.num_rows, bool))
        if self._chosen:
            listed &= self._chosen.among(number, table.num_rows) | ~has_file(table)
        return listed

    def count_prompts(self) -> int:
        """Return how many different prompts there are."""
        listed = (
            hashes[self.listed(number, self._work.read_index(number, ["status"]))] if self._chosen else hashes
            for number, hashes in enumerate(self._hashes)
        )
        hashes = np.sort(np.concatenate([*listed]))
        return int(np.count_nonzero(np.diff(hashes))) + bool(len(hashes))

    def public(self, number: int, table: pa.Table, files: pa.Array) -> pa.Table:
        """Return a shard's rows as the export's table has them.

        Args:
            number: of the shard.
            table: of ``jobs.export.index``.
            files: the file of each row; null where it has none.
        """
        return public_rows(
            self._scores.add(self._shards[number], table),
            self.schema,
            self._metadata,
            prefix=self._prefixes[number],
            files=files,
            splits=pa.array(np.array(SPLITS, object)[self.splits[number]], pa.string()),
        )

    def _candidates(self) -> Iterator[pa.Table]:
        """Yield the samples to choose among: those that have files."""
        for number in range(len(self._shards)):
            table = self._work.read_index(number)
            rows = self.public(number, table, pa.nulls(table.num_rows, pa.string())).drop_columns(["file"])
            rows = rows.append_column(SOURCE, pa.array([number] * table.num_rows, pa.int64()))
            rows = rows.append_column(ROW, pa.array(range(table.num_rows), pa.int64()))
            yield rows.filter(pa.array(has_file(table) & self.listed(number, table)))
