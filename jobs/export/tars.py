"""The export's tars: whole shards as links, others as stretches of them, under new keys where runs would collide."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.export.plan import Extent, Piece
from jobs.export.trouble import reading
from jobs.store.tar import BLOCK, CHUNK, end_of_archive, forget, parse_header, sample_bytes


def write_tar(target: Path, piece: Piece, tars: list[Path], prefixes: list[str]) -> dict[str, Any]:
    """Write a tar, or copy a whole one; it is durable and was read back when this returns.

    Args:
        target: a path that does not exist.
        piece: what goes into it.
        tars: the sources' tars.
        prefixes: what is put before the keys of each source.

    Returns:
        Its "bytes" and "sha256".
    """
    size = 0
    with open(target, "wb") as file:  # buffered: a raw write may take a part only
        for data in _contents(piece, tars, prefixes):
            file.write(data)
            size += len(data)
        end = end_of_archive(size)
        file.write(end)
        file.flush()
        os.fsync(file.fileno())
    sha256 = _read_back(target, chain(_contents(piece, tars, prefixes), [end]))
    return {"bytes": size + len(end), "sha256": sha256}


def _read_back(target: Path, contents: Iterable[bytes]) -> str:
    """Return the sha256 of a file that was written.

    To compare it with what it was made of takes less time than to hash that too when it is written.

    Raises:
        OSError: the disk gives back other bytes.
    """
    digest = hashlib.sha256()
    with open(target, "rb") as file:
        forget(file)
        for data in contents:
            found = file.read(len(data))
            digest.update(found)
            if found != data:
                raise OSError(f"{target} was read back with other bytes than were written")
        if file.read(1):
            raise OSError(f"{target} was read back with more bytes than were written")
    return digest.hexdigest()


def link(source: Path, target: Path) -> bool:
    """Make a hard link, or find it; False where the file systems do not allow one."""
    if target.exists() and os.path.samefile(source, target):
        return True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(source, target)
    except OSError:
        return False
    return True


def _contents(piece: Piece, tars: list[Path], prefixes: list[str]) -> Iterator[bytes]:
    for extent in piece.extents:
        prefix = prefixes[extent.source]
        yield from _renamed(tars[extent.source], extent, prefix) if prefix else _as_is(tars[extent.source], extent)


def _as_is(tar: Path, extent: Extent) -> Iterator[bytes]:
    """Yield the bytes of a stretch of a tar."""
    left = extent.end - extent.start
    with reading(tar), open(tar, "rb", buffering=0) as file:
        file.seek(extent.start)
        while left:
            data = file.read(min(left, CHUNK))
            if not data:
                raise BadInput(f"{tar} has become shorter since this export began: delete the unfinished export")
            left -= len(data)
            yield data


def _renamed(tar: Path, extent: Extent, prefix: str) -> Iterator[bytes]:
    """Yield the same members under other keys, which a sample's json has too."""
    with reading(tar), open(tar, "rb", buffering=CHUNK) as file:
        file.seek(extent.start)
        while file.tell() < extent.end:
            name, size = parse_header(file.read(BLOCK))
            data = file.read(size)
            file.seek(-size % BLOCK, os.SEEK_CUR)
            key, _, extension = name.partition(".")
            if extension == "json":
                info = {**json.loads(data), "key": f"{prefix}{key}"}
                data = json.dumps(info, ensure_ascii=False, allow_nan=False).encode()
            yield sample_bytes(f"{prefix}{key}", {extension: data})
