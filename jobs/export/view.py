"""The samples of an export as its files and its table have them: which split and file each belongs to."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.base.errors import BadInput
from jobs.export.choose import has_file
from jobs.export.index import END, MEDIA_START, STAMP, START
from jobs.export.plan import Piece, Source, plan_pieces
from jobs.export.rows import Rows
from jobs.export.scan import stamp_of
from jobs.export.source import SourceRun
from jobs.export.work import Work
from jobs.options.export import SPLITS


class Shape(Protocol):
    """What the files of an export are.

    Attributes:
        by_sample: whether each sample is a file of its own, in the folder that its piece is.
        target, most: see ``jobs.export.plan.plan_pieces``.
    """

    by_sample: bool
    target: int | None
    most: int | None

    def path(self, split: int, number: int, total: int) -> str:
        """Return where the ``number``-th of ``total`` pieces of a split lies."""


class View:
    """All sources of an export, planned. Tables are read from the work directory when asked for, one at a time.

    Attributes:
        tars: each source's tar.
        sha256: of each tar.
        prefixes: what is put before the keys of each.
        extension: the kind of the images or clips.
        pieces: the files.
        schema: the columns of the table.
    """

    def __init__(self, work: Work, runs: list[SourceRun], rows: Rows, form: Shape):
        """Lay out the files.

        Args:
            work: has the tables of all sources.
            runs: of the export.
            rows: of their samples.
            form: what the files are.
        """
        self._work, self._form, self._of = work, form, rows
        owners = [(run, shard) for run in runs for shard in run.shards]
        self.tars = [shard.tar for _, shard in owners]
        self.prefixes = [run.prefix for run, _ in owners]
        self.extension = runs[0].extension
        self.sha256 = [shard.sha256 for _, shard in owners]
        self.pieces, self._places = plan_pieces(self._sources(), form.target, form.most)
        self._totals = [sum(piece.split == split for piece in self.pieces) for split in range(len(SPLITS))]
        self._by_source: list[dict[tuple[int, int], str]] = [{} for _ in self.tars]
        for piece in self.pieces:
            for extent in piece.extents:
                self._by_source[extent.source][piece.split, piece.number] = self.path(piece)
        self.schema = rows.schema

    def _sources(self) -> Iterator[Source]:
        for number in range(len(self.tars)):
            table = self._work.read_index(number, ["status", START, END])
            files = has_file(table)
            kept = files & self._of.listed(number, table)
            starts, ends = (table[name].to_numpy()[kept].astype(np.int64) for name in (START, END))
            yield Source(starts, ends, self._of.splits[number][kept], int(files.sum()))

    def path(self, piece: Piece) -> str:
        """Return where a piece lies in the export."""
        return self._form.path(piece.split, piece.number, self._totals[piece.split])

    def rows(self, number: int) -> pa.Table:
        """Return a source's rows as the table has them, given-up ones too."""
        return self._rows(number)[0]

    def samples(self, number: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """Return the rows of a source's samples that have files, and first byte and bytes of each image or clip."""
        return self._rows(number)[1:]

    @lru_cache(maxsize=2)  # noqa: B019 (lives as long as the export)
    def _rows(self, number: int) -> tuple[pa.Table, pa.Table, np.ndarray, np.ndarray]:
        table = self._work.read_index(number)
        listed = self._of.listed(number, table)
        kept = has_file(table) & listed
        starts, sizes = (table[name].to_numpy()[kept].astype(np.int64) for name in (MEDIA_START, "bytes"))
        rows = self._of.public(number, table, self._files(number, table, kept))
        return _among(rows, listed), _among(rows, kept), starts, sizes

    def _files(self, number: int, table: pa.Table, kept: np.ndarray) -> pa.Array:
        """Return where each sample of a source lies in the export; null where it has no file."""
        found = np.full(len(kept), None, object)
        names = self._by_source[number]
        pairs = zip(self._of.splits[number][kept].tolist(), self._places[number].tolist(), strict=True)
        found[kept] = [names[pair] for pair in pairs]
        files = pa.array(found, pa.string())
        if not self._form.by_sample:
            return files
        keys = table["key"].combine_chunks()
        return pc.binary_join_element_wise(files, "/", self.prefixes[number], keys, f".{self.extension}", "")

    def check_unchanged(self, piece: Piece) -> None:
        """Make sure that what goes into a piece is what was read and checked.

        Raises:
            BadInput: a tar is another one by now.
        """
        for source in sorted({extent.source for extent in piece.extents}):
            tar: Path = self.tars[source]
            if (self._work.read_schema(source).metadata or {}).get(STAMP) != stamp_of(tar).encode():
                raise BadInput(f"{tar} was changed since it was read: run the same command again")


def _among(rows: pa.Table, which: np.ndarray) -> pa.Table:
    return rows if which.all() else rows.filter(pa.array(which))
