"""The text in a file: unpacked, decoded and cut into lines, or a sentence that says where it is damaged."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from jobs.base.errors import BadInput

CHUNK = 1 << 20  # bytes
# What stands before the text; that of UTF-32 begins with that of UTF-16.
_WIDE = {codecs.BOM_UTF32_LE: 32, codecs.BOM_UTF32_BE: 32, codecs.BOM_UTF16_LE: 16, codecs.BOM_UTF16_BE: 16}
# How files begin that are no text, and what to do about one that is named as text.
_OTHERS = {
    b"\x1f\x8b": "is packed: add .gz to its name",
    b"PK\x03\x04": "is a spreadsheet or an archive: save its table as CSV",
    b"PAR1": "is a parquet file: rename it to .parquet",
}


def unpacked(path: Path) -> bytes:
    """Return what a file holds, unpacked where its name ends in ``.gz``.

    Raises:
        BadInput: it cannot be read, or is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"prompt_file {path} cannot be read ({error.strerror}): check its permissions") from None
    if path.suffix.lower() != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be unpacked ({error}): compress it again, or give it unpacked") from None


def utf8(path: Path) -> bytes:
    """Return the text in a file as UTF-8: it is that, or UTF-16 or UTF-32 with a byte-order mark.

    Raises:
        BadInput: it is neither, which names the line and the byte; or it cannot be read.
    """
    data = unpacked(path)
    if mend := next((mend for sign, mend in _OTHERS.items() if data.startswith(sign)), None):
        raise BadInput(f"{path} {mend}")
    width = next((width for mark, width in _WIDE.items() if data.startswith(mark)), None)
    if width:
        try:
            data = data.decode(f"utf-{width}").encode()
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{path} begins with the mark of UTF-{width} and is not that at byte {error.start} ({error.reason}): "
                "save the prompt file as UTF-8"
            ) from None
    else:
        _check(path, data)
    if (zero := data.find(b"\0")) >= 0:
        line = _line_ends(data, zero) + 1
        raise BadInput(f"{path} line {line} holds a zero byte: save the prompt file as plain UTF-8 text")
    return data


def _check(path: Path, data: bytes) -> None:
    """Decode by pieces, so that a large file is not in memory twice."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), CHUNK):
        end = min(start + CHUNK, len(data))
        try:
            decoder.decode(data[start:end], final=end == len(data))
        except UnicodeDecodeError as error:  # its object is this chunk, and before it a character the last one cut
            at = end - len(error.object) + error.start
            raise BadInput(
                f"{path} line {_line_ends(data, at) + 1} is not UTF-8 (byte 0x{data[at]:02x}): "
                "save the prompt file as UTF-8"
            ) from None


def _line_ends(data: bytes, end: int) -> int:
    return data.count(b"\n", 0, end) + data.count(b"\r", 0, end) - data.count(b"\r\n", 0, end)


def lines_of(data: bytes) -> Iterator[str]:
    """Give out the lines of UTF-8 text; LF, CRLF and a lone CR end a line, and come out as LF."""
    with io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=None) as file:
        yield from file
