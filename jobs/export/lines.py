"""What a folder of images or clips says of them, for `datasets`: a line of JSON for each, or a Parquet file.

`datasets` takes the types of columns from the first lines of each split, and all splits must have the same ones. A
column that is null in them, or a text that looks like a time, has another type there: such an export has Parquet files
instead.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from jobs.export.table import in_groups, write_metadata
from jobs.export.view import View
from jobs.export.work import Work
from jobs.store.atomic import replace as move
from jobs.store.atomic import sync
from jobs.store.tar import hash_file

LINES, TABLE = "metadata.jsonl", "metadata.parquet"
_CHUNK = 10 << 20  # bytes that `datasets` reads at a time
_FILES = ("file_name", "file_names")  # what ends so names a file


def own_names(names: Sequence[str], is_taken: Callable[[str], bool]) -> list[str]:
    """Return names of columns, with ``_`` behind those that a reader takes for something else."""
    found: list[str] = []
    for name in names:
        given = name
        while is_taken(name) or (name != given and name in names) or name in found:
            name += "_"
        found.append(name)
    return found


def write_lines(work: Work, view: View, splits: Sequence[str]) -> dict[str, str]:
    """Write what the folder of each split says of its files, whose ``file_name`` is within it.

    Args:
        work: where the export is made.
        view: its samples.
        splits: those that have some.

    Returns:
        Path of each file in the export -> its sha256.
    """
    new = {split: work.new / f"{split}.{LINES}" for split in splits}
    with contextlib.ExitStack() as opened:
        files = {split: opened.enter_context(open(path, "w", encoding="utf-8")) for split, path in new.items()}
        known: set[str] = set()  # columns that have a value anywhere
        for table in _tables(view):
            known |= {name for name in table.column_names if table[name].null_count < table.num_rows}
            for row in table.to_pylist():
                files[row["split"]].write(json.dumps(row, ensure_ascii=False) + "\n")
    schema = _schema(view)
    name = LINES
    if not all(_tell_types(path, schema, known) for path in new.values()):
        name = TABLE
        for split, path in new.items():
            of = (table.filter(pc.equal(table["split"], split)) for table in _tables(view))
            rows = write_metadata(path, schema, in_groups(of))
            if pq.ParquetFile(path).metadata.num_rows != rows:
                raise OSError(f"{path} was read back without all of its rows")
    hashes = {}
    for split, path in new.items():
        sync(path)
        move(path, work.out / split / name)
        hashes[f"{split}/{name}"] = hash_file(work.out / split / name)
    return hashes


def _schema(view: View) -> pa.Schema:
    taken = {"text", "video" if view.extension == "mp4" else "image"}
    own = [field for field in view.schema if field.name != "file"]
    names = own_names([field.name for field in own], lambda name: name in taken or name.endswith(_FILES))
    fields = [pa.field(name, field.type) for name, field in zip(names, own, strict=True)]
    return pa.schema([pa.field("file_name", pa.string()), pa.field("text", pa.string()), *fields])


def _tables(view: View) -> Iterator[pa.Table]:
    schema = _schema(view)
    for number in range(len(view.tars)):
        rows, _, _ = view.samples(number)
        names = pc.replace_substring_regex(rows["file"], "^[^/]*/", "")  # within the folder of its split
        columns = [names, rows["prompt"], *rows.drop_columns(["file"]).columns]
        yield pa.Table.from_arrays(columns, schema=schema)


def _tell_types(path: Path, schema: pa.Schema, known: set[str]) -> bool:
    """Return whether `datasets` reads the columns of some lines as what they are."""
    first = True
    for chunk in _chunks(path):
        options = pj.ReadOptions(block_size=len(chunk) + 1, use_threads=False)
        try:
            found = pj.read_json(io.BytesIO(chunk), read_options=options).schema
        except pa.ArrowInvalid:
            return False
        for field in schema:
            may_be_null = not first or field.name not in known
            if not _is_alike(found.field(field.name).type, field.type, may_be_null=may_be_null):
                return False
        first = False
    return True


def _chunks(path: Path) -> Iterable[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk + file.readline()


def _is_alike(found: pa.DataType, wanted: pa.DataType, *, may_be_null: bool) -> bool:
    if pa.types.is_null(found):
        return may_be_null
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return _is_alike(found.value_type, wanted.value_type, may_be_null=may_be_null)
    if pa.types.is_struct(found) and pa.types.is_struct(wanted):
        names = [found.field(place).name for place in range(found.num_fields)]
        return names == [wanted.field(place).name for place in range(wanted.num_fields)] and all(
            _is_alike(found.field(name).type, wanted.field(name).type, may_be_null=may_be_null) for name in names
        )
    return bool(found == wanted)
