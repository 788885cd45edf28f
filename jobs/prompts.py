"""Reads a prompt file (.txt, .jsonl, .csv, .parquet) into one table, or says which line is wrong.

Rules: UTF-8, a byte-order mark and CRLF line ends are accepted; prompts are stripped; blank lines of .txt
and .jsonl are passed over (line numbers in messages still count them). In the three table formats the
column ``prompt`` is required, the columns of ``SETTINGS`` override the command line for that prompt, ``id``
must be unique, and every other column is metadata that travels into the sample's json. Metadata is typed by
column: whole numbers, numbers, booleans or text (anything nested becomes JSON text). A missing text is "";
a missing number or boolean is refused, because readers infer the schema from the first samples.
"""

import codecs
import csv
import hashlib
import io
import itertools
import json
import math
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from jobs.errors import BadInput

CHUNK = 1 << 20  # bytes
SHARED = 4096  # how many texts of a table are looked at for being repeated


def _whole(low: int, high: int | None = None) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        number = int(value)
        if number < low or (high is not None and number >= high):
            raise ValueError
        return number

    return convert


def _finite(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise ValueError
    return number


def _text(value: Any) -> str:
    if isinstance(value, (dict, list, bool)):
        raise ValueError
    return str(value).strip()


# column -> (converter, what the column must hold)
SETTINGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "seed": (_whole(0, 2**63), "a whole number from 0 to 2^63 - 1"),
    "negative_prompt": (_text, "text"),
    "height": (_whole(1), "a whole number of pixels above 0"),
    "width": (_whole(1), "a whole number of pixels above 0"),
    "num_frames": (_whole(1), "a whole number of at least 1"),
    "num_inference_steps": (_whole(1), "a whole number of at least 1"),
    "guidance_scale": (_finite, "a number of at least 0"),
    "id": (_text, "text"),
}


@dataclass(frozen=True)
class PromptTable:
    """Prompts and what came with them, column by column.

    Attributes:
        path: where they were read from.
        sha256: hex digest of the file's bytes (part of a run's identity).
        texts: the prompts, in file order.
        lines: line (or row) number of each prompt, for messages.
        settings: per-prompt overrides: column -> one value or None per prompt; only columns that exist.
        metadata: free columns: column -> one value per prompt, of one type, never None.
    """

    path: Path
    sha256: str
    texts: list[str]
    lines: Sequence[int]
    settings: dict[str, list[Any]] = field(default_factory=dict)
    metadata: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, index: int) -> str:
        """Human-readable place of prompt ``index``."""
        return _at(self.path, self.lines[index])


def _at(path: Path, number: int) -> str:
    return f"{path} {_line_or_row(path)} {number}"


def _line_or_row(path: Path) -> str:
    return "row" if path.suffix.lower() == ".parquet" else "line"


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
                    f"{_at(path, number)} is not valid JSON ({_json_problem(error)}): write one object a line"
                ) from None
            if not isinstance(row, dict):
                raise BadInput(f'{_at(path, number)} is not an object: write {{"prompt": "..."}}')
            yield number, row

    return _from_rows(path, sha256, rows(), limit)


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
        return _from_rows(path, sha256, rows(), limit, parse_numbers=True)
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
    return _from_rows(path, sha256, iter(rows), limit)


def _from_rows(
    path: Path,
    sha256: str,
    rows: Iterator[tuple[int, dict[str, Any]]],
    limit: int | None,
    parse_numbers: bool = False,
) -> PromptTable:
    texts: list[str] = []
    lines = array("q")
    columns: dict[str, list[Any]] = {}
    shared: dict[str, str] = {}
    for number, row in itertools.islice(rows, limit):
        prompt = row.pop("prompt", None)
        text = prompt.strip() if isinstance(prompt, str) else ""
        if not text:
            problem = "has no prompt" if prompt is None else f"has {brief(prompt)} as its prompt"
            raise BadInput(f"{_at(path, number)} {problem}: write a text into its column 'prompt'")
        for name in row:
            if name not in columns:
                columns[name] = [None] * len(texts)
        for name, values in columns.items():
            value = row.get(name)
            if type(value) is str:  # metadata is mostly categories: one string serves all the rows that hold it
                value = shared.get(value, value) if len(shared) >= SHARED else shared.setdefault(value, value)
            values.append(value)
        texts.append(text)
        lines.append(number)
    settings = {name: _setting(path, lines, name, columns.pop(name)) for name in SETTINGS if name in columns}
    _refuse_duplicate_ids(path, lines, settings.get("id", []))
    metadata = {name: _metadata(path, lines, name, values, parse_numbers) for name, values in sorted(columns.items())}
    return PromptTable(path, sha256, texts, lines, settings, metadata)


def _setting(path: Path, lines: Sequence[int], name: str, values: list[Any]) -> list[Any]:
    convert, wanted = SETTINGS[name]
    converted = []
    for number, value in zip(lines, values, strict=True):
        try:
            converted.append(None if value is None else convert(value))
        except (ValueError, TypeError, OverflowError):
            raise BadInput(f"{_at(path, number)}: {name} must be {wanted}, not {brief(value)}") from None
    return converted


def _refuse_duplicate_ids(path: Path, lines: Sequence[int], ids: list[str | None]) -> None:
    first: dict[str, int] = {}
    for number, value in zip(lines, ids, strict=False):
        if not value:
            raise BadInput(f"{_at(path, number)} has no id: give every prompt one, or remove the column")
        if value in first:
            earlier = f"{_line_or_row(path)} {first[value]}"
            raise BadInput(f"{_at(path, number)} repeats the id '{value}' of {earlier}: ids must be unique")
        first[value] = number


def _metadata(path: Path, lines: Sequence[int], name: str, values: list[Any], parse_numbers: bool) -> list[Any]:
    """One type for the whole column, no None (module docstring)."""
    if parse_numbers:
        values = _parse_cells(values)
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds and any(isinstance(value, float) for value in values):
        values = [float(value) if value is not None else None for value in values]
        kinds = {float}
    if len(kinds) == 1 and kinds <= {int, float, bool}:
        for number, value in zip(lines, values, strict=True):
            if value is None:
                raise BadInput(f"{_at(path, number)} has no '{name}': give every prompt one, or make the column text")
            if isinstance(value, float) and not math.isfinite(value):
                raise BadInput(f"{_at(path, number)}: {name} is {value}, which JSON cannot hold: give a finite number")
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise BadInput(f"{_at(path, number)}: {name} does not fit 64 bits: write it as text")
        return values
    return ["" if value is None else value if isinstance(value, str) else _as_text(value) for value in values]


def _as_text(value: Any) -> str:
    if not isinstance(value, (dict, list, int, float, bool)):  # parquet knows dates and the like
        return str(value)
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


_INTEGER = re.compile(r"-?(0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


def _parse_cells(cells: list[str | None]) -> list[Any]:
    """CSV has no types: a column whose every cell is written as a number is numbers, otherwise text ("007" stays)."""
    for pattern, kind in ((_INTEGER, int), (_NUMBER, float)):
        if all(cell is not None and pattern.fullmatch(cell) for cell in cells):
            return [kind(cell) for cell in cells]  # type: ignore[arg-type]
    return list(cells)
