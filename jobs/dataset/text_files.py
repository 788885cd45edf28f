"""Reads prompts from text: one a line (.txt), or tables whose first line names the columns (.csv, .tsv)."""

import csv
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.decode import lines_of, utf8
from jobs.dataset.rows import RowCollector, Rows
from jobs.options.aliases import bare, option_meant

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
LOOKED_AT = 20  # lines of a .txt that are looked at for being a table
csv.field_size_limit(sys.maxsize)  # Python's own is 131,072 characters, and some cells are longer
_SAID = re.compile(rb"(?i)(?:\xef\xbb\xbf)?\"?sep=([,;\t])\"?(?=[\r\n])")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def read_txt(path: Path) -> Rows:
    """Read a prompt a line; blank lines are passed over.

    Raises:
        BadInput: it is not text, or rather a table.
    """
    rows = [line.strip() for line in lines_of(utf8(path))]
    _refuse_table(path, [row for row in rows[:LOOKED_AT] if row])
    if all(rows):  # the usual file: line numbers need no list of their own
        return Rows({"prompt": rows}, range(1, len(rows) + 1))
    kept = [(number, row) for number, row in enumerate(rows, 1) if row]
    return Rows({"prompt": [row for _, row in kept]}, [number for number, _ in kept])


def _refuse_table(path: Path, rows: list[str]) -> None:
    """Refuse a table that was named .txt: its header and settings would become prompts."""
    if not rows:
        return
    if rows[0].startswith("{") and _is_a(dict, rows[0]):
        raise BadInput(f"{path} holds an object a line: rename it to .jsonl")
    if rows[0] in ("[", "{") or (rows[0].startswith("[") and _is_a(list, rows[0])):
        raise BadInput(f"{path} holds JSON: rename it to .json")
    if bare(rows[0]) in ("prompt", "prompts"):
        raise BadInput(f"{path} line 1 is '{rows[0]}', the header of a column: remove it, or rename the file to .csv")
    for separator, word in SEPARATORS.items():
        table = list(csv.reader(rows, delimiter=separator))
        # Of a prompt with commas only that says enough; with tabs the header does.
        alike = separator == "\t" or len({len(cells) for cells in table}) == 1 < len(table)
        if alike and len(table[0]) > 1 and _names_prompt(table[0]):
            suffix = "tsv" if separator == "\t" else "csv"
            raise BadInput(f"{path} is a table with {word} between its cells: rename it to .{suffix}")


def _is_a(kind: type, text: str) -> bool:
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):
        return False


def _names_prompt(cells: list[str]) -> bool:
    return any(option_meant(cell, misspelt=False) == "prompt" for cell in cells)


def read_csv(path: Path) -> Rows:
    """Read a table with commas, semicolons or tabs between its cells, whichever the first line has.

    Raises:
        BadInput: it is not such a table; names the line.
    """
    data = utf8(path)
    said = _SAID.match(data)  # a line for Excel, left empty so that the others keep their numbers
    if said:
        data = data[said.end() :]
    separator = said[1].decode() if said else _separator(data)[0]
    notes = () if separator == "," else (f"{path} is read with {SEPARATORS[separator]} between its cells",)
    return _read_table(path, data, separator, notes)


def read_tsv(path: Path) -> Rows:
    """Read a table with tabs between its cells.

    Raises:
        BadInput: it is not such a table; names the line.
    """
    data = utf8(path)
    separator, cells = _separator(data)
    if separator != "\t" and len(cells) > 1 and _names_prompt(cells):
        raise BadInput(f"{path} is a table with {SEPARATORS[separator]} between its cells: rename it to .csv")
    return _read_table(path, data, "\t")


def _separator(data: bytes) -> tuple[str, list[str]]:
    """Return what separates cells, and those of the first line."""
    line = next((line for line in lines_of(data) if line.strip()), "")
    headers = {separator: next(csv.reader([line], delimiter=separator), []) for separator in SEPARATORS}
    return max(headers.items(), key=lambda item: (_names_prompt(item[1]), len(item[1])))


def _read_table(path: Path, data: bytes, separator: str, notes: tuple[str, ...] = ()) -> Rows:
    if separator == "\t" and _quotes_are_plain(data):
        reader = csv.reader(lines_of(data), delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines_of(data), delimiter=separator, strict=True)
    rows = RowCollector()
    try:
        for number, row in _table_rows(path, reader, separator):
            rows.add(number, row)
    except csv.Error as error:
        raise BadInput(f"{path} line {reader.line_num} is not valid CSV ({error}): check its quotes") from None
    return Rows(rows.columns, rows.numbers, written=True, decimal_comma=separator == ";", notes=notes)


def _table_rows(path: Path, reader: Any, separator: str) -> Iterator[tuple[int, dict[str, Any]]]:
    filled = filter(None, reader)
    header = [name.strip() for name in next(filled, [])]
    named = sorted(filter(None, header))
    if twice := next((one for one, other in itertools.pairwise(named) if one == other), None):
        raise BadInput(f"{path} line {reader.line_num} names a column twice, '{twice}': give every column its own name")
    for cells in filled:
        if len(cells) != len(header):
            raise BadInput(
                f"{path} line {reader.line_num} has {len(cells)} cells where the header has {len(header)}: "
                f"quote cells that hold {SEPARATORS[separator]}"
            )
        yield reader.line_num, {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _quotes_are_plain(data: bytes) -> bool:
    """Whether the quotes of a table with tabs are characters like others (``a star 6" wide``), not around cells."""
    if b'"' not in data:
        return False
    widths, around = set(), True
    for line in lines_of(data):
        cells = line.rstrip("\n").split("\t")
        if line.strip():
            widths.add(len(cells))
            around = around and all(_QUOTED.fullmatch(cell) for cell in cells if '"' in cell)
    if around:
        return False
    # Every line by itself is a row, so no cell goes on in the next line; else quotes mean what they do in a .csv.
    return (len(widths) == 1 and widths != {1}) or not _is_valid(data)


def _is_valid(data: bytes) -> bool:
    try:
        return len({len(cells) for cells in csv.reader(lines_of(data), delimiter="\t", strict=True) if cells}) == 1
    except csv.Error:
        return False
