"""Tar members as bytes at known offsets: what lets a shard be cut anywhere and continued to the same bytes.

The format is plain USTAR as written by Python's tarfile, with every varying field (time, owner, mode) fixed.
``tarfile.open`` is not used for writing: it pads by its own offset, so a continued archive would end differently.
"""

import hashlib
import os
import tarfile
from pathlib import Path
from typing import IO

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20


def sample_bytes(key: str, members: dict[str, bytes]) -> bytes:
    """The members ``key.ext`` of one sample, headers and padding included, in the order given."""
    parts = []
    for extension, data in members.items():
        info = tarfile.TarInfo(f"{key}.{extension}")
        info.size = len(data)
        info.mode = 0o644
        parts += [info.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % BLOCK)]
    return b"".join(parts)


def parse_header(header: bytes) -> tuple[str, int]:
    """Return a member's name and size. Plain headers, which nearly all are, are read here in a tenth of the time.

    Raises:
        tarfile.TarError: it is no header.
    """
    if header[124] & 0x80 or header[345]:  # a size beyond 8 GB, or a name beyond 100 bytes
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        return info.name, info.size
    try:
        return header[:100].rstrip(b"\0").decode(), int(header[124:135], 8)
    except ValueError as error:
        raise tarfile.ReadError(str(error)) from None


def end_of_archive(size: int) -> bytes:
    """What closes an archive of ``size`` bytes: two zero blocks, then zeros up to a whole record."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % tarfile.RECORDSIZE)


def forget(file: IO[bytes]) -> None:
    """Have the system drop its copy of a file, where it can: what is read from then on is what the disk has."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def hash_file(path: Path) -> str:
    """Return the sha256 of what the disk has, not of what was cached, where the system can tell them apart."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        forget(file)
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def verify(path: Path, names: list[str], sha256: str) -> None:
    """Read a finished tar back from its first byte to its last.

    The file's pages are dropped from the cache first, where the system can, so that the disk answers.

    Args:
        names: members it must have, in order.
        sha256: hex digest of all bytes that were written.

    Raises:
        OSError: members or bytes differ, or the end of the archive is missing or torn.
    """
    digest = hashlib.sha256()
    found: list[str] = []
    with open(path, "rb", buffering=CHUNK) as file:
        forget(file)
        while True:
            header = file.read(BLOCK)
            if len(header) < BLOCK or not any(header):
                break
            digest.update(header)
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            found.append(info.name)
            left = info.size + -info.size % BLOCK
            while left:
                data = file.read(min(left, CHUNK))
                if not data:
                    raise OSError(f"{path} was read back cut short inside {info.name}")
                digest.update(data)
                left -= len(data)
        offset = file.tell() - len(header)
        end = header + file.read()
    digest.update(end)
    if found != names:
        raise OSError(f"{path} was read back with {len(found)} members where {len(names)} were written")
    if end != end_of_archive(offset):
        raise OSError(f"{path} was read back without a whole end of archive")
    if digest.hexdigest() != sha256:
        raise OSError(f"{path} was read back with other bytes than were written")
