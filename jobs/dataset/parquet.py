"""Reads tables of Arrow: parquet files, and what comes from the hub."""

from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.decode import unpacked
from jobs.dataset.rows import SHARED, Rows


def read_parquet(path: Path) -> Rows:
    """Read a parquet file; columns of bytes stay on the disk.

    Raises:
        BadInput: it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed = path.suffix.lower() == ".gz"
    try:
        with pq.ParquetFile(pa.BufferReader(unpacked(path)) if packed else str(path)) as file:
            names = file.schema_arrow.names
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise BadInput(f"{path} has two columns '{twice[0]}': give every column its own name")
            table = file.read([field.name for field in file.schema_arrow if not _holds_bytes(field.type)])
            dropped = tuple(field.name for field in file.schema_arrow if _holds_bytes(field.type))
    except (pa.ArrowException, OSError):
        raise BadInput(f"{path} is not a readable parquet file: write it again") from None
    return rows_of(table, str(path), dropped)


def rows_of(table: Any, location: str, dropped: tuple[str, ...] = ()) -> Rows:
    """Return the rows of an Arrow table without its columns of bytes.

    Raises:
        BadInput: a column holds what Python has no value for, such as a date behind the year 9999.
    """
    dropped += tuple(field.name for field in table.schema if _holds_bytes(field.type))
    columns = {}
    for name in table.column_names:
        if name not in dropped:
            try:
                columns[name] = _values(table.column(name))
            except (ValueError, OverflowError) as error:  # also of Arrow, and of texts that are not UTF-8
                problem = str(error).partition("\n")[0]
                raise BadInput(
                    f"{location}: column '{name}' holds what cannot be read ({problem}): mend or remove it"
                ) from None
    return Rows(columns, range(1, table.num_rows + 1), dropped=dropped)


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":  # Python's own stop at microseconds
        try:
            column = column.cast(pa.timestamp("us", kind.tz))
        except pa.ArrowInvalid:
            column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):  # one text serves all the rows that hold it
        shared = {value: value for value in values[:SHARED]}
        return [shared.get(value, value) for value in values]
    return values


def _holds_bytes(kind: Any) -> bool:
    """Whether a type is bytes, such as an image's, or has any inside."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):  # a UUID is a name, which is written with digits
        return kind.extension_name != "arrow.uuid" and _holds_bytes(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))
    plain = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(is_one(kind) for is_one in plain)
