"""What an export's pieces are written as."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.base.errors import BadInput
from jobs.export.lines import own_names
from jobs.export.plan import Piece, piece_path
from jobs.export.tars import link, write_tar
from jobs.export.trouble import reading
from jobs.export.view import Shape, View
from jobs.options.export import SPLITS, ExportOptions
from jobs.store.atomic import sync
from jobs.store.tar import hash_file

MB = 1_000_000
FILES = 5_000  # pictures in a folder
# Of a row group that the hub's viewer shows: rows of images and of clips as `datasets` writes them, and bytes.
_ROWS = {"mp4": 10}
_IMAGE_ROWS = 100
_GROUP_BYTES = 100 * MB
_ALL = 1 << 62  # bytes: more than there are
Batch = tuple[pa.Table, list[bytes]]  # rows, and the image or clip of each


class Format(Shape, Protocol):
    """How a piece becomes a file, or a folder."""

    def link(self, view: View, piece: Piece, target: Path) -> dict[str, Any] | None:
        """Put a link into place where that is all there is to do, and return its record."""

    def write(self, view: View, piece: Piece, new: Path) -> dict[str, Any]:
        """Write a piece to a path that does not exist, read it back, and return its record."""


class Webdataset:
    """Tars: links to whole shards where that can be, else new ones."""

    by_sample, most = False, None

    def __init__(self, options: ExportOptions):
        self.target = int(options.shard_mb * MB) or None

    def path(self, split: int, number: int, total: int) -> str:
        """See ``Shape``."""
        return piece_path(split, number, total, ".tar")

    def write(self, view: View, piece: Piece, new: Path) -> dict[str, Any]:
        """See ``Format``."""
        return write_tar(new, piece, view.tars, view.prefixes)

    def link(self, view: View, piece: Piece, target: Path) -> dict[str, Any] | None:
        """See ``Format``."""
        whole = piece.whole
        if whole is None or view.prefixes[whole]:
            return None
        view.check_unchanged(piece)
        if not link(view.tars[whole], target):
            return None
        return {"bytes": target.stat().st_size, "sha256": view.sha256[whole]}


class _Written:
    """What is always written anew."""

    def link(self, view: View, piece: Piece, target: Path) -> None:
        """See ``Format``."""


class Parquet(_Written):
    """Parquet files with the images or clips in them, in row groups that the hub's viewer can show."""

    by_sample, most = False, None

    def __init__(self, options: ExportOptions):
        self.target = int(options.shard_mb * MB) or None

    def path(self, split: int, number: int, total: int) -> str:
        """See ``Shape``."""
        return piece_path(split, number, total, ".parquet")

    def write(self, view: View, piece: Piece, new: Path) -> dict[str, Any]:
        """See ``Format``."""
        column = "video" if view.extension == "mp4" else "image"
        media = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        own = [field for field in view.schema if field.name != "file"]
        names = own_names([one.name for one in own], lambda name: name == column)
        fields = [pa.field(name, one.type) for name, one in zip(names, own, strict=True)]
        features = {column: {"_type": column.capitalize()}, **{one.name: _feature(one.type) for one in fields}}
        about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        schema = pa.schema([pa.field(column, media), *fields], about)
        with pq.ParquetWriter(new, schema, compression="zstd", write_page_index=True) as writer:
            for rows, contents in _groups(view, piece):
                paths = pc.binary_join_element_wise(rows["key"].combine_chunks(), f".{view.extension}", "")
                cells = pa.StructArray.from_arrays([pa.array(contents, pa.binary()), paths], fields=list(media))
                table = rows.select([one.name for one in own]).rename_columns(names)
                writer.write_table(table.add_column(0, pa.field(column, media), cells).cast(schema))
        sync(new)
        if pq.ParquetFile(new).metadata.num_rows != piece.samples:
            raise OSError(f"{new} was read back without all of its rows")
        return {"bytes": new.stat().st_size, "sha256": hash_file(new)}


class ImageFolder(_Written):
    """A file for each image or clip; what tells of them comes at the end (``jobs.export.lines``)."""

    by_sample, most = True, FILES

    def __init__(self, options: ExportOptions):
        del options
        self.target = _ALL  # folders are filled by number of files

    def path(self, split: int, number: int, total: int) -> str:
        """See ``Shape``."""
        return piece_path(split, number, total, "")

    def write(self, view: View, piece: Piece, new: Path) -> dict[str, Any]:
        """See ``Format``."""
        new.mkdir()
        files = {}
        for rows, contents in batches_of(view, piece):
            names = zip(rows["key"].to_pylist(), rows["sha256"].to_pylist(), contents, strict=True)
            for key, sha256, data in names:
                path = new / f"{key}.{view.extension}"
                path.write_bytes(data)
                sync(path)
                if hash_file(path) != sha256:
                    raise OSError(f"{path} was read back with other bytes than the sample had")
                files[path.name] = {"bytes": len(data), "sha256": sha256}
        return {"bytes": sum(one["bytes"] for one in files.values()), "files": files}


class Mds(_Written):
    """MosaicML Streaming's shards, written by its own library: a folder for each split."""

    by_sample, most = False, None

    def __init__(self, options: ExportOptions):
        try:
            import streaming  # noqa: F401
        except ImportError as error:
            raise BadInput(
                f"format=mds needs MosaicML Streaming, which is not installed here ({error}): "
                "pip install mosaicml-streaming, in an environment of its own if need be"
            ) from None
        self.target = _ALL  # the library cuts the shards of a split itself
        self._limit = int(options.shard_mb * MB) or None

    def path(self, split: int, number: int, total: int) -> str:
        """See ``Shape``."""
        return SPLITS[split]

    def write(self, view: View, piece: Piece, new: Path) -> dict[str, Any]:
        """See ``Format``."""
        import streaming

        kinds = {"prompt": "str", "key": "str", "info": "str", view.extension: "bytes"}
        with streaming.MDSWriter(columns=kinds, out=str(new), size_limit=self._limit, hashes=["sha1"]) as writer:
            for rows, contents in batches_of(view, piece):
                for row, data in zip(rows.drop_columns(["file"]).to_pylist(), contents, strict=True):
                    info = json.dumps(row, ensure_ascii=False)
                    writer.write({"prompt": row["prompt"], "key": row["key"], "info": info, view.extension: data})
        shards = json.loads((new / "index.json").read_text())["shards"]
        if sum(shard["samples"] for shard in shards) != piece.samples:
            raise OSError(f"{new} was read back without all of its samples")
        files = {}
        for path in sorted(new.iterdir()):
            sync(path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": hash_file(path)}
        return {"bytes": sum(one["bytes"] for one in files.values()), "files": files}


FORMATS: dict[str, Any] = {"webdataset": Webdataset, "parquet": Parquet, "imagefolder": ImageFolder, "mds": Mds}


def batches_of(view: View, piece: Piece, most: int = 100, most_bytes: int = _GROUP_BYTES) -> Iterator[Batch]:
    """Yield the samples of a piece in order, as rows and images or clips.

    Args:
        view: has them.
        piece: of the export.
        most: samples of a batch.
        most_bytes: of its images or clips; a single one may be larger.
    """
    for extent in piece.extents:
        rows, starts, sizes = view.samples(extent.source)
        tar = view.tars[extent.source]
        with reading(tar), open(tar, "rb") as file:
            first, after = extent.first, extent.first + extent.samples
            while first < after:
                total = np.cumsum(sizes[first : min(first + most, after)])
                count = max(int(np.searchsorted(total, most_bytes, side="right")), 1)
                contents = []
                for place in range(first, first + count):
                    file.seek(int(starts[place]))
                    contents.append(file.read(int(sizes[place])))
                yield rows.slice(first, count), contents
                first += count


def remove(path: Path) -> None:
    """Remove a file or folder that an interrupted command left."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _groups(view: View, piece: Piece) -> Iterator[Batch]:
    """Yield the row groups of a piece: batches of neighbouring shards joined, as far as they fit."""
    most = _ROWS.get(view.extension, _IMAGE_ROWS)
    held: list[Batch] = []
    count = size = 0
    for rows, contents in batches_of(view, piece, most):
        more = sum(map(len, contents))
        if held and (count + len(contents) > most or size + more > _GROUP_BYTES):
            yield _joined(held)
            held, count, size = [], 0, 0
        held.append((rows, contents))
        count, size = count + len(contents), size + more
    yield _joined(held)


def _joined(batches: list[Batch]) -> Batch:
    return pa.concat_tables([rows for rows, _ in batches]), [data for _, contents in batches for data in contents]


def _feature(kind: pa.DataType) -> Any:
    """Return a column's type in the words of `datasets`."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {kind.field(place).name: _feature(kind.field(place).type) for place in range(kind.num_fields)}
    names = {pa.float64(): "float64", pa.bool_(): "bool", pa.int64(): "int64"}
    return {"dtype": names.get(kind, "string"), "_type": "Value"}
