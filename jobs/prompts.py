"""Reads a prompt file (.txt, .jsonl, .csv, .parquet) into one table, or says which line is wrong.

Rules: UTF-8, a byte-order mark and CRLF line ends are accepted; prompts are stripped; blank lines of .txt
and .jsonl are passed over (line numbers in messages still count them). In the three table formats the
column ``prompt`` is required, the columns of ``SETTINGS`` override the command line for that prompt, ``id``
must be unique, and every other column is metadata that travels into the sample's json. Metadata is typed by
column: whole numbers, numbers, booleans or text (anything nested becomes JSON text). A missing text is "";
a missing number or boolean is refused, because readers infer the schema from the first samples.
"""

import csv
import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from jobs.errors import BadInput


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
    lines: "list[int] | range"
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
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"prompt_file {path} does not exist: give the path of a prompt file") from None
    except OSError as error:
        raise BadInput(f"prompt_file {path} cannot be read ({error.strerror}): check its permissions") from None
    table = reader(path, data, hashlib.sha256(data).hexdigest(), limit)
    if not table.texts:
        raise BadInput(f"prompt_file {path} holds no prompts: write at least one into it")
    return table


def _decode(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path} line {line} is not UTF-8: save the prompt file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInput(f"{path} line {line} holds a zero byte: save the prompt file as plain UTF-8 text")
    return text.replace("\r\n", "\n")


def _read_txt(path: Path, data: bytes, sha256: str, limit: int | None) -> PromptTable:
    rows = [line.strip() for line in _decode(path, data).split("\n")]
    if all(rows[:-1]):  # the usual file: line numbers need no list of their own
        texts = (rows if rows[-1] else rows[:-1])[:limit]
        return PromptTable(path, sha256, texts, range(1, len(texts) + 1))
    kept = [(number, row) for number, row in enumerate(rows, 1) if row][:limit]
    return PromptTable(path, sha256, [row for _, row in kept], [number for number, _ in kept])


def _read_jsonl(path: Path, data: bytes, sha256: str, limit: int | None) -> PromptTable:
    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(_decode(path, data).split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_constant=_refuse_constant)
                if "\\ud" in line.lower():
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


def _read_csv(path: Path, data: bytes, sha256: str, limit: int | None) -> PromptTable:
    reader = csv.reader(io.StringIO(_decode(path, data), newline=""), strict=True)

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


def _read_parquet(path: Path, data: bytes, sha256: str, limit: int | None) -> PromptTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
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
    lines: list[int] = []
    columns: dict[str, list[Any]] = {}
    for number, row in itertools.islice(rows, limit):
        prompt = row.pop("prompt", None)
        if not isinstance(prompt, str) or not prompt.strip():
            problem = "has no prompt" if prompt is None else f"has {brief(prompt)} as its prompt"
            raise BadInput(f"{_at(path, number)} {problem}: write a text into its column 'prompt'")
        for name in row:
            if name not in columns:
                columns[name] = [None] * len(texts)
        for name, values in columns.items():
            values.append(row.get(name))
        texts.append(prompt.strip())
        lines.append(number)
    settings = {name: _setting(path, lines, name, columns.pop(name)) for name in SETTINGS if name in columns}
    _refuse_duplicate_ids(path, lines, settings.get("id", []))
    metadata = {name: _metadata(path, lines, name, values, parse_numbers) for name, values in sorted(columns.items())}
    return PromptTable(path, sha256, texts, lines, settings, metadata)


def _setting(path: Path, lines: list[int], name: str, values: list[Any]) -> list[Any]:
    convert, wanted = SETTINGS[name]
    converted = []
    for number, value in zip(lines, values, strict=True):
        try:
            converted.append(None if value is None else convert(value))
        except (ValueError, TypeError, OverflowError):
            raise BadInput(f"{_at(path, number)}: {name} must be {wanted}, not {brief(value)}") from None
    return converted


def _refuse_duplicate_ids(path: Path, lines: list[int], ids: list[str | None]) -> None:
    first: dict[str, int] = {}
    for number, value in zip(lines, ids, strict=False):
        if not value:
            raise BadInput(f"{_at(path, number)} has no id: give every prompt one, or remove the column")
        if value in first:
            earlier = f"{_line_or_row(path)} {first[value]}"
            raise BadInput(f"{_at(path, number)} repeats the id '{value}' of {earlier}: ids must be unique")
        first[value] = number


def _metadata(path: Path, lines: list[int], name: str, values: list[Any], parse_numbers: bool) -> list[Any]:
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
