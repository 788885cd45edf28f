"""A file of which only ranges are to be had, as one that can be read and sought in."""

import io
import os
from collections.abc import Callable
from typing import Any


class Ranged(io.RawIOBase):
    """The raw file; ``io.BufferedReader`` makes few large ranges of many small reads.

    Args:
        read: brings the bytes from one offset up to another.
        size: of the file, in bytes.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int):
        self._read, self._size, self._at = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        data = self._read(self._at, end) if end > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
