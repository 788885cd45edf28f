"""metadata.parquet: one row a sample, in the order of the export, given-up ones too."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.export.index import PLACE

ROWS = 10_000  # of a row group
_FIRST = (
    *("key", "file", "split", "prompt", "negative_prompt", "id", "width", "height", "num_frames", "fps", "duration"),
    *("bytes", "sha256", "status", "reason", "flagged", "seed", "run", "run_id"),
)
_METADATA = "metadata_"
_ORIGINAL = "near_duplicate_of"  # the score that is a key
_WHOLE = 2**63


class MetadataTypes:
    """The types of the prompt files' own columns, which the samples' json has as JSON in a text.

    A column of which all values are of one kind has that kind; whole numbers among others are such; what differs from
    prompt to prompt in kind, lists and mappings are JSON in a text.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, set[type]] = {}

    def add(self, texts: Iterable[str | None]) -> None:
        """Take note of what a column ``metadata`` holds."""
        for text in texts:
            if text and text != "{}":
                for name, value in json.loads(text).items():
                    self._kinds.setdefault(name, set()).add(_kind(value))

    @property
    def fields(self) -> dict[str, pa.DataType]:
        """Column -> its type, by name."""
        return {name: _common(self._kinds[name] - {type(None)}) for name in sorted(self._kinds)}

    def columns(self, texts: list[str | None]) -> dict[str, pa.Array]:
        """Return the columns of these rows."""
        rows = [json.loads(text) if text and text != "{}" else {} for text in texts]
        return {
            f"{_METADATA}{name}": pa.array([_as(kind, row.get(name)) for row in rows], kind)
            for name, kind in self.fields.items()
        }


def _kind(value: Any) -> type:
    if isinstance(value, int) and not isinstance(value, bool) and not -_WHOLE <= value < _WHOLE:
        return object
    return type(value) if isinstance(value, (bool, int, float, str, type(None))) else object


def _common(kinds: set[type]) -> pa.DataType:
    if kinds == {int, float}:
        return pa.float64()
    only = next(iter(kinds)) if len(kinds) == 1 else object
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(only, pa.string())


def _as(kind: pa.DataType, value: Any) -> Any:
    if pa.types.is_floating(kind):
        return None if value is None else float(value)  # also whole numbers that are none exactly
    if value is None or not pa.types.is_string(kind) or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def public_schema(schemas: Iterable[pa.Schema], metadata: MetadataTypes) -> pa.Schema:
    """Return the columns of the table, from those of all shards."""
    own = {field.name: field.type for field in pa.unify_schemas([one.remove_metadata() for one in schemas])}
    own |= {"file": pa.string(), "split": pa.string()}
    for name in (*PLACE, "metadata"):
        own.pop(name, None)
    names = [*(name for name in _FIRST if name in own), *(name for name in own if name not in _FIRST)]
    fields = [pa.field(name, own[name]) for name in names]
    return pa.schema([*fields, *(pa.field(f"{_METADATA}{name}", kind) for name, kind in metadata.fields.items())])


def with_scores(schema: pa.Schema, types: Mapping[str, pa.DataType]) -> pa.Schema:
    """Return the columns with those of scores, which come before those of the prompt file."""
    first = [field for field in schema if not field.name.startswith(_METADATA)]
    scores = [pa.field(name, kind) for name, kind in types.items()]
    return pa.schema([*first, *scores, *(field for field in schema if field.name.startswith(_METADATA))])


def public_rows(
    table: pa.Table, schema: pa.Schema, metadata: MetadataTypes, *, prefix: str, files: pa.Array, splits: pa.Array
) -> pa.Table:
    """Return a shard's rows as the export has them.

    Args:
        table: of ``jobs.export.index``.
        schema: of ``public_schema``.
        metadata: the types of the prompt file's columns.
        prefix: what is put before the keys, and before the key that a sample is a near duplicate of.
        files: the file of each row; null for given-up samples.
        splits: the split of each.
    """
    own = {name: table[name] for name in table.column_names}
    if prefix:
        own["key"] = pc.binary_join_element_wise(prefix, own["key"], "")
        if _ORIGINAL in own:
            other = pc.match_substring(own[_ORIGINAL], ":")  # a key of another run, after its name
            own[_ORIGINAL] = pc.if_else(other, own[_ORIGINAL], pc.binary_join_element_wise(prefix, own[_ORIGINAL], ""))
    own |= {"file": files, "split": splits}
    own |= metadata.columns(own["metadata"].to_pylist()) if metadata.fields and "metadata" in own else {}
    count = table.num_rows
    columns = [
        _cast(own[field.name], field.type) if field.name in own else pa.nulls(count, field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column as another type, at no cost where it is of that type."""
    return column if column.type == kind else column.cast(kind)


def write_metadata(target: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write tables, each as a row group, and return the number of rows."""
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table, row_group_size=ROWS)
            rows += table.num_rows
    return rows


def in_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``ROWS``, whatever the shards' sizes."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= ROWS:
            joined = pa.concat_tables(held).combine_chunks()
            yield joined.slice(0, ROWS)
            held, count = [joined.slice(ROWS)], count - ROWS
    if count:
        yield pa.concat_tables(held).combine_chunks()
