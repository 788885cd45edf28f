"""The table of prompts: texts, per-prompt settings and metadata, column by column.

The columns that ``SETTINGS`` names override the command line for that prompt, ``id`` must be unique, and every other
column is metadata that travels into the sample's json. Metadata is typed by column: whole numbers, numbers, booleans
or text (anything nested becomes JSON text). A missing text is ""; a missing number or boolean is refused, because
readers infer the schema from the first samples.
"""

import itertools
import json
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.fields import Limits, limits_of
from jobs.options.schema import Options, SampleOptions

SHARED = 4096  # how many texts of a table are looked at for being repeated

# The columns that are settings rather than metadata, and what they take.
SETTINGS: dict[str, Limits] = {
    "seed": limits_of(Options, "seed"),
    **{one.name: limits_of(SampleOptions, one.name) for one in fields(SampleOptions)},
    "id": Limits(str),
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

    def digest(self, count: int) -> str:
        """Return the sha256 of the first ``count`` prompts, their settings and metadata."""
        import hashlib

        columns = {"prompt": self.texts, **self.settings, **self.metadata}
        return hashlib.sha256(json.dumps({n: v[:count] for n, v in columns.items()}).encode()).hexdigest()

    def own_settings(self, index: int) -> dict[str, Any]:
        """Return what prompt ``index`` sets itself."""
        return {name: values[index] for name, values in self.settings.items() if values[index] is not None}

    def where(self, index: int) -> str:
        """Return the human-readable place of prompt ``index``."""
        return place(self.path, self.lines[index])


def place(path: Path, number: int) -> str:
    """Return a place in a prompt file for a message."""
    return f"{path} {line_or_row(path)} {number}"


def line_or_row(path: Path) -> str:
    """Return what a prompt stands in."""
    return "row" if path.suffix.lower() == ".parquet" else "line"


def table_from_rows(
    path: Path,
    sha256: str,
    rows: Iterator[tuple[int, dict[str, Any]]],
    limit: int | None,
    parse_numbers: bool = False,
) -> PromptTable:
    """Sort rows into columns.

    Args:
        path: the file they come from.
        sha256: digest of that file.
        rows: (line or row number, column -> value), as read.
        limit: take at most so many.
        parse_numbers: whether numbers come as text.

    Raises:
        BadInput: a row is wrong; names it.
    """
    texts: list[str] = []
    lines = array("q")
    columns: dict[str, list[Any]] = {}
    shared: dict[str, str] = {}
    for number, row in itertools.islice(rows, limit):
        prompt = row.pop("prompt", None)
        text = prompt.strip() if isinstance(prompt, str) else ""
        if not text:
            problem = "has no prompt" if prompt is None else f"has {brief(prompt)} as its prompt"
            raise BadInput(f"{place(path, number)} {problem}: write a text into its column 'prompt'")
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
    limits = SETTINGS[name]
    converted = []
    for number, value in zip(lines, values, strict=True):
        try:
            converted.append(None if value is None else _cell(value, limits))
        except (ValueError, OverflowError):
            raise BadInput(f"{place(path, number)}: {name} must be {limits.wanted}, not {brief(value)}") from None
    return converted


def _cell(value: Any, limits: Limits) -> Any:
    if isinstance(value, str):
        value = value.strip()
        if not value and limits.kind is str:  # unlike null, it overrides the command line's text with none
            return value
    elif isinstance(value, Decimal):  # parquet has numbers and texts of its own
        value = int(value) if value == int(value) else float(value)
    elif limits.kind is str and not isinstance(value, (dict, list, bool)):
        value = str(value)
    return limits.convert(value)


def _refuse_duplicate_ids(path: Path, lines: Sequence[int], ids: list[str | None]) -> None:
    first: dict[str, int] = {}
    for number, value in zip(lines, ids, strict=False):
        if not value:
            raise BadInput(f"{place(path, number)} has no id: give every prompt one, or remove the column")
        if value in first:
            earlier = f"{line_or_row(path)} {first[value]}"
            raise BadInput(f"{place(path, number)} repeats the id '{value}' of {earlier}: ids must be unique")
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
                raise BadInput(f"{place(path, number)} has no '{name}': give every prompt one, or make the column text")
            if isinstance(value, float) and not math.isfinite(value):
                raise BadInput(
                    f"{place(path, number)}: {name} is {value}, which JSON cannot hold: give a finite number"
                )
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise BadInput(f"{place(path, number)}: {name} does not fit 64 bits: write it as text")
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
