"""What a shard says of its samples, as a table: the json of each, its sidecar's verdict, and where in the tar it is."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from jobs.base.errors import BadInput
from jobs.export.scan import Scan, scan, stamp_of
from jobs.export.source import Shard, SourceRun
from jobs.export.trouble import reading
from jobs.store.sidecar import FAILED

# Bytes in the source's tar, which no reader of the export needs; no other column has a dot in its name.
START, END, MEDIA_START = PLACE = ("tar.start", "tar.end", "tar.media_start")
STAMP = b"stamp-2"
# Lists, whose type an empty one does not tell.
_LISTS = {
    "algo.evaluated": pa.list_(pa.int64()),
    "encoders": pa.list_(pa.struct([("encoder", pa.string()), ("tokens", pa.int64()), ("limit", pa.int64())])),
}
_AUDIT = ("audit_psnr", "audit_ssim")
# What else the sidecar has are times and machines, which are nobody's business.
_OF_SIDECAR = (
    *("key", "prompt", "negative_prompt", "id", "sample_index", "prompt_index", "repeat", "seed", "height", "width"),
    *("num_frames", "num_inference_steps", "guidance_scale", "status", "reason"),
    *_AUDIT,
)
_BEGINS, _NAME, _MORE = r"(?:\bfile://|(?<![\w./~]))", r"[^\s/'\"`()<>|;]+", r"[^\s/'\"`()<>|;:,]"
_HOME = re.compile(rf"{_BEGINS}/(?:home|Users)/+{_MORE}+/*(?!{_MORE})")  # whose last part is a person's name
_FOLDERS = re.compile(rf"{_BEGINS}(?:~[\w.-]*/+(?:{_NAME}/+)*|/(?:{_NAME}/+)+)(?={_MORE})")


def index_shard(run: SourceRun, shard: Shard) -> pa.Table:
    """Read a shard, and check on the way that its bytes are those that were published.

    Returns:
        A row for each sample, given-up ones too, in the shard's order. Nested fields are flattened: ``algo.name`` is
        ``algo_name``. Beside them ``bytes`` and ``sha256`` of the image or clip, ``status`` and ``reason``, what an
        audit found, and for this program ``START``, ``END`` (of the sample) and ``MEDIA_START``; of given-up samples
        most is null.

    Raises:
        BadInput: the shard is not what its run recorded.
    """
    stamp = stamp_of(shard.tar)
    found = scan(shard.tar, shard.sha256)
    sidecar = shard.directory.sidecar(shard.number)
    rows = _rows(sidecar)
    failed = pc.equal(rows["status"], FAILED)
    kept = rows.filter(pc.invert(failed))
    if kept["key"].to_pylist() != found.keys:
        raise BadInput(f"{sidecar} tells of other samples than {shard.tar} has: restore it")
    table = _kept(found, kept)
    given_up = rows.filter(failed).drop_columns(["sha256"])
    if given_up.num_rows:
        given_up = given_up.set_column(
            given_up.column_names.index("reason"),
            "reason",
            [[without_paths(one) for one in given_up["reason"].to_pylist()]],
        )
        owner = {"run": run.name, "run_id": run.run_id, "shard": shard.number}
        for name, value in owner.items():
            given_up = given_up.append_column(name, [[value] * given_up.num_rows])
        table = pa.concat_tables([table, given_up], promote_options="default").sort_by("sample_index")
    return table.replace_schema_metadata({STAMP: stamp.encode()})


def without_paths(text: str) -> str:
    """Return a reason without the folders it may name, which are private: of a path its last part is left."""
    return _FOLDERS.sub("", _HOME.sub("~", text))


def schema_of(value: dict[str, Any], prefix: str = "") -> list[pa.Field]:
    """Return the types of a sample's json, from one of them."""
    return [pa.field(name, _type(one, f"{prefix}{name}")) for name, one in value.items()]


def names_of(info: bytes) -> set[str]:
    """Return the columns that the table of an export has of a sample by itself, from its json."""
    return {*flatten(_read([info])).column_names, *_OF_SIDECAR, "file", "split", "bytes", "sha256", "metadata"}


def _type(value: Any, name: str) -> pa.DataType:
    if isinstance(value, dict):
        return pa.struct(schema_of(value, f"{name}."))
    if isinstance(value, list):
        return _LISTS.get(name) or pa.list_(_type(value[0], name) if value else pa.string())
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(type(value), pa.string())


def _kept(found: Scan, rows: pa.Table) -> pa.Table:
    table = flatten(_read(found.infos)) if found.infos else pa.table({})
    places = {
        "bytes": pa.array(found.media_sizes, pa.int64()),
        "sha256": rows["sha256"],
        **{name: rows[name] for name in ("status", "reason", *_AUDIT) if name in rows.column_names},
        START: pa.array(found.starts, pa.int64()),
        END: pa.array(found.ends, pa.int64()),
        MEDIA_START: pa.array(found.media_starts, pa.int64()),
    }
    for name, column in places.items():
        table = table.append_column(name, column)
    return table


def _read(infos: list[bytes]) -> pa.Table:
    """Return the samples' json as columns."""
    lines = b"\n".join(infos)
    schema = pa.schema(schema_of(json.loads(infos[0])))
    return pj.read_json(
        io.BytesIO(lines),
        read_options=pj.ReadOptions(block_size=len(lines) + 1, use_threads=False),
        parse_options=pj.ParseOptions(explicit_schema=schema),
    )


def flatten(table: pa.Table) -> pa.Table:
    """Return a table without structs: their fields are columns, with ``_`` between the names."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table.rename_columns([name.replace(".", "_") for name in table.column_names])


def _rows(sidecar: Path) -> pa.Table:
    torn = f"{sidecar} is missing or torn: restore it, or delete the shard's done record and tar"
    try:
        with reading(sidecar):
            data = sidecar.read_bytes()
    except FileNotFoundError:
        raise BadInput(torn) from None
    try:
        rows = pq.ParquetFile(pa.BufferReader(data)).read(columns=[*_OF_SIDECAR, "sha256"], use_threads=False)
    except (OSError, ValueError, pa.ArrowException):  # pyarrow says it in any of these
        raise BadInput(torn) from None
    if not {"key", "sample_index", "status", "reason", "sha256"} <= {*rows.column_names}:
        raise BadInput(torn)
    return rows
