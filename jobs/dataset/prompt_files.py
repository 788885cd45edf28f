"""Reads a prompt file (.txt, .jsonl, .csv, .parquet) into one table, or says which line is wrong.

UTF-8, a byte-order mark and CRLF line ends are accepted; prompts are stripped; blank lines of .txt and .jsonl are
passed over (line numbers in messages still count them). In the three table formats the column ``prompt`` is required.
"""

import codecs
import copyreg
import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.prompts import PromptTable, place, table_from_rows

CHUNK = 1 << 20  # bytes


def read_prompts(path: Path, limit: int | None = None) -> PromptTable:
    """Read at most ``limit`` prompts.

    Raises:
        BadInput: the file is missing, unreadable, empty or wrong; names the line.
    """
    if path.is_dir():
        raise BadInput(f"prompt_file {path} is a directory: give the path of a file in it")
    readers = {".txt": _read_txt, ".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput(f"prompt_file {path} must end in one of {', '.join(readers)}: rename or convert it")
    try:
        source = io.BytesIO(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"prompt_file {path} does not exist: give the path of a prompt file") from None
    except OSError as error:
        raise BadInput(f"prompt_file {path} cannot be read ({error.strerror}): check its permissions") from None
    table = reader(path, source, hashlib.sha256(source.getvalue()).hexdigest(), limit)
    if not table.texts:
        raise BadInput(f"prompt_file {path} holds no prompts: write at least one into it")
    return table


def _read_again(path: Path, sha256: str, count: int) -> PromptTable:
    table = read_prompts(path, count)
    if table.sha256 != sha256:
        raise BadInput(f"prompt_file {path} was changed since this command began: run the command again")
    return table


def _reduce(table: PromptTable) -> tuple[Any, ...]:
    """Pickle a table as the place to read it from, not as a million texts."""
    return _read_again, (table.path, table.sha256, len(table))


copyreg.pickle(PromptTable, _reduce)


def _lines(path: Path, source: io.BytesIO, newline: str) -> Iterator[str]:
    """The lines of a text file, decoded one by one: a million prompts need not be in memory several times over.

    Args:
        source: what the file holds; its memory is given back after the last line.
        newline: what ends a line, as for ``open``; CRLF comes out as LF in any case.

    Raises:
        BadInput: not UTF-8 text, anywhere in the file; found before the first line is given out.
    """
    data = source.getvalue()  # no copy
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), CHUNK):
        end = min(start + CHUNK, len(data))
        try:
            decoder.decode(data[start:end], final=end == len(data))
        except UnicodeDecodeError as error:  # its object is this chunk, and before it a character the last one cut
            line = data.count(b"\n", 0, end - len(error.object) + error.start) + 1
            raise BadInput(f"{path} line {line} is not UTF-8: save the prompt file as UTF-8") from None
    if (zero := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, zero) + 1
        raise BadInput(f"{path} line {line} holds a zero byte: save the prompt file as plain UTF-8 text")
    del data
    with io.TextIOWrapper(source, "utf-8-sig", newline=newline) as file:
        for text in file:
            yield text.replace("\r\n", "\n")


def _read_txt(path: Path, source: io.BytesIO, sha256: str, limit: int | None) -> PromptTable:
    rows = [line.strip() for line in _lines(path, source, "\n")]
    if all(rows):  # the usual file: line numbers need no list of their own
        texts = rows[:limit]
        return PromptTable(path, sha256, texts, range(1, len(texts) + 1))
    kept = [(number, row) for number, row in enumerate(rows, 1) if row][:limit]
    return PromptTable(path, sha256, [row for _, row in kept], [number for number, _ in kept])


def _read_jsonl(path: Path, source: io.BytesIO, sha256: str, limit: int | None) -> PromptTable:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)  # json.loads would make one a line

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(_lines(path, source, "\n"), 1):
            if not line.strip():
                continue
            try:
                row = decoder.decode(line.rstrip("\n"))
                if "\\u" in line and "\\ud" in line.lower():
                    json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair could not be written as .txt
            except (ValueError, RecursionError) as error:
                raise BadInput(
                    f"{place(path, number)} is not valid JSON ({_json_problem(error)}): write one object a line"
                ) from None
            if not isinstance(row, dict):
                raise BadInput(f'{place(path, number)} is not an object: write {{"prompt": "..."}}')
            yield number, row

    return table_from_rows(path, sha256, rows(), limit)


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):  # its own text counts lines within our line
        return f"{error.msg} at column {error.colno}"
    return error.reason if isinstance(error, UnicodeEncodeError) else str(error)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_csv(path: Path, source: io.BytesIO, sha256: str, limit: int | None) -> PromptTable:
    reader = csv.reader(_lines(path, source, ""), strict=True)

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) != len(header):
            raise BadInput(f"{path} line 1 names a column twice: give every column its own name")
        if "prompt" not in header:
            raise BadInput(f"{path} line 1 has no column 'prompt': the first line must name the columns")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise BadInput(
                    f"{path} line {reader.line_num} has {len(cells)} cells where the header has {len(header)}: "
                    "quote cells that hold a comma"
                )
            yield reader.line_num, {name: cell or None for name, cell in zip(header, cells, strict=True)}

    try:
        return table_from_rows(path, sha256, rows(), limit, parse_numbers=True)
    except csv.Error as error:
        raise BadInput(f"{path} line {reader.line_num} is not valid CSV ({error}): check its quotes") from None


def _read_parquet(path: Path, source: io.BytesIO, sha256: str, limit: int | None) -> PromptTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(source.getvalue()))
    except (pa.ArrowException, OSError):
        raise BadInput(f"{path} is not a readable parquet file: write it again") from None
    rows = enumerate(table.slice(0, limit).to_pylist(), 1)
    return table_from_rows(path, sha256, iter(rows), limit)
