"""Reads a list of prompts, from one file, many, or the hub, into one table, or says which line is wrong.

The whole list is read and checked, also where only its first prompts are taken: they have the columns and types of the
whole, so that a run of a few is the beginning of a run of all.
"""

import copyreg
import itertools
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.columns import listed, roles_of
from jobs.dataset.folders import caption_ids, find_files, format_of
from jobs.dataset.hub import read_dataset
from jobs.dataset.json_files import read_json, read_jsonl
from jobs.dataset.parquet import read_parquet
from jobs.dataset.prompts import SETTINGS, Places, PromptTable
from jobs.dataset.rows import Rows
from jobs.dataset.source import PromptSource
from jobs.dataset.tables import table_of
from jobs.dataset.text_files import read_csv, read_tsv, read_txt

READERS: dict[str, Callable[[Path], Rows]] = {
    ".txt": read_txt,
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}
_WORDS = {".json": "entry", ".parquet": "row"}  # what a prompt stands in, if not in a line


def read_prompts(source: PromptSource, limit: int | None = None) -> PromptTable:
    """Read a list of prompts, and take at most ``limit`` of them.

    Raises:
        BadInput: it is missing, unreadable, empty or wrong; names the line.
    """
    if source.on_hub:
        source, whole = read_dataset(source)
        files, parts, word = [source.location], [whole], "row"
    elif source.split is not None:
        raise BadInput(f"prompt_split is for datasets of the hub, not for prompt_file {source.location}: leave it out")
    else:
        paths = find_files(source.location)
        parts = _read_files(paths)
        files, word = list(map(str, paths)), _WORDS.get(format_of(paths[0]), "line")
    rows = _joined(parts)
    if not len(rows.numbers):
        raise BadInput(f"prompt_file {source.location} holds no prompts: write at least one into it")
    _refuse_bytes(rows, source)
    roles = roles_of(list(rows.columns), source, header=rows.written)
    for file, part in zip(files, parts, strict=True):
        if len(part.numbers) and roles.prompt not in part.columns:
            raise BadInput(f"{file} has no column '{roles.prompt}': it has {listed(list(part.columns))}")
    starts = itertools.accumulate((len(part.numbers) for part in parts[:-1]), initial=0)
    return table_of(source, rows, roles, Places(tuple(files), tuple(starts), rows.numbers, word), limit)


def _read_again(source: PromptSource, digest: str, count: int) -> PromptTable:
    table = read_prompts(source, count)
    if len(table) != count or table.digest(count) != digest:
        raise BadInput(f"prompt_file {source.location} was changed since this command began: run the command again")
    return table


def _reduce(table: PromptTable) -> tuple[Any, ...]:
    """Pickle a table as the place to read it from, not as a million texts."""
    return _read_again, (table.source, table.digest(len(table)), len(table))


copyreg.pickle(PromptTable, _reduce)


def _read_files(paths: list[Path]) -> list[Rows]:
    kind = format_of(paths[0])
    parts = [READERS[kind](path) for path in paths]
    return _captions(paths, parts) if kind == ".txt" and len(paths) > 1 else parts


def _joined(parts: list[Rows]) -> Rows:
    """Return the rows of several files as those of one."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, list[Any]] = {}
    numbers = array("q")
    for part in parts:
        for name in part.columns:
            columns.setdefault(name, [None] * len(numbers))
        missing = [None] * len(part.numbers)
        for name, values in columns.items():
            values += part.columns.get(name, missing)
        numbers.extend(part.numbers)
    return Rows(
        columns,
        numbers,
        written=parts[0].written,
        decimal_comma=any(part.decimal_comma for part in parts),
        dropped=tuple(dict.fromkeys(name for part in parts for name in part.dropped)),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _captions(files: list[Path], parts: list[Rows]) -> list[Rows]:
    """Give the prompts of a folder of captions the names of their files as ids; an empty file is an empty prompt."""
    ids = caption_ids(files, [len(part.numbers) for part in parts])
    filled = [part if len(part.numbers) else Rows({"prompt": [None]}, [1]) for part in parts]
    if ids is None:
        return filled
    return [replace(part, columns={**part.columns, "id": [one]}) for part, one in zip(filled, ids, strict=True)]


def _refuse_bytes(rows: Rows, source: PromptSource) -> None:
    asked = {"prompt", *SETTINGS, (source.prompt_column or "prompt").casefold()}
    if wrong := [name for name in rows.dropped if name.casefold() in asked]:
        raise BadInput(f"{source.location}: column {listed(wrong)} holds bytes: write it as text")
