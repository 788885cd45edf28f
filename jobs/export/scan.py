"""One reading of a shard: its bytes are those of its done record, and where in it each sample is."""

import hashlib
import os
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from jobs.base.errors import BadInput
from jobs.export.trouble import reading
from jobs.store.tar import BLOCK, CHUNK, parse_header


@dataclass
class Scan:
    """Where the samples of a tar are, a row each.

    Attributes:
        keys: their keys.
        starts: byte at which a sample's first header begins.
        ends: byte behind its last member's padding.
        media_starts: byte at which its image or clip begins.
        media_sizes: bytes of it.
        infos: its json.
    """

    keys: list[str] = field(default_factory=list)
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    ends: "array[int]" = field(default_factory=lambda: array("q"))
    media_starts: "array[int]" = field(default_factory=lambda: array("q"))
    media_sizes: "array[int]" = field(default_factory=lambda: array("q"))
    infos: list[bytes] = field(default_factory=list)


class Member(NamedTuple):
    """A member of a tar: its name, the byte at which its data begins, their number, and themselves if small."""

    name: str
    start: int
    size: int
    data: bytes


def scan(path: Path, sha256: str) -> Scan:
    """Read a tar from its first byte to its last.

    Args:
        sha256: hex digest that its done record has.

    Raises:
        BadInput: it is gone, or has other bytes.
    """
    found, digest = Scan(), hashlib.sha256()
    try:
        with reading(path), open(path, "rb", buffering=0) as file:
            size = 0
            for member in _members(_Hashed(file, digest)):
                key, _, extension = member.name.partition(".")
                size = member.start + member.size + -member.size % BLOCK
                if not found.keys or key != found.keys[-1]:
                    found.keys.append(key)
                    found.starts.append(member.start - BLOCK)
                    found.ends.append(size)
                found.ends[-1] = size
                if extension == "json":
                    found.infos.append(member.data)
                elif extension != "txt":
                    found.media_starts.append(member.start)
                    found.media_sizes.append(member.size)
    except FileNotFoundError:
        raise BadInput(f"{path} is missing although its run says it is done: put it back") from None
    except tarfile.TarError:
        raise BadInput(_differs(path)) from None
    whole = len(found.keys) == len(found.infos) == len(found.media_sizes)
    if digest.hexdigest() != sha256 or not whole:
        raise BadInput(_differs(path))
    return found


def stamp_of(path: Path) -> str:
    """Return what a file on this disk is known again by: other stamp, other file."""
    try:
        with reading(path):
            stat = os.stat(path)
    except FileNotFoundError:
        raise BadInput(f"{path} is missing although its run says it is done: put it back") from None
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}"


class _Hashed:
    """The bytes of a file, one after another; they are hashed by the chunk."""

    def __init__(self, file: FileIO, digest: "hashlib._Hash"):
        self._file, self._digest = file, digest
        self._chunk, self._at = b"", 0

    def take(self, count: int) -> bytes:
        """Return the next bytes; fewer at the end of the file."""
        end = self._at + count
        taken = self._chunk[self._at : end]
        self._at = end
        while (left := count - len(taken)) and self._more():
            taken += self._chunk[:left]
            self._at = left
        return taken

    def skip(self, count: int) -> None:
        """Go on behind the next bytes."""
        self._at += count
        while (left := self._at - len(self._chunk)) > 0 and self._more():
            self._at = left

    def rest(self) -> None:
        """Hash what is left."""
        while self._more():
            pass

    def _more(self) -> bool:
        """Go on to the next chunk, if there is one."""
        chunk = self._file.read(CHUNK)
        if chunk:
            self._digest.update(chunk)
            self._chunk = chunk
        return bool(chunk)


def _members(file: _Hashed) -> Iterator[Member]:
    """Yield the members, with the data of what is not an image or clip; every byte of the file is hashed."""
    offset = 0
    while len(header := file.take(BLOCK)) == BLOCK and any(header):
        name, size = parse_header(header)
        offset += BLOCK
        padded = size + -size % BLOCK
        if name.endswith((".json", ".txt")):
            yield Member(name, offset, size, file.take(padded)[:size])
        else:
            file.skip(padded)
            yield Member(name, offset, size, b"")
        offset += padded
    file.rest()


def _differs(path: Path) -> str:
    record = path.parent.parent / "done" / f"{path.stem}.json"
    return (
        f"{path} has other bytes than its run recorded: restore it, or delete {record} and the tar "
        "and finish the run to make the shard again"
    )
