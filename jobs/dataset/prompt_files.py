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
from reprlib import repr as brief
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.columns import Roles, listed, roles_of
from jobs.dataset.decode import unpacked
from jobs.dataset.folders import caption_ids, find_files, format_of
from jobs.dataset.hub import read_dataset
from jobs.dataset.json_files import read_json, read_jsonl
from jobs.dataset.parquet import read_parquet
from jobs.dataset.prompts import SETTINGS, Places, PromptTable
from jobs.dataset.rows import Rows
from jobs.dataset.source import PromptSource
from jobs.dataset.text_files import read_csv, read_tsv, read_txt
from jobs.dataset.values import is_gap, metadata_values, setting_values

READERS: dict[str, Callable[[Path, bytes], Rows]] = {
    ".txt": read_txt,
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}
# What a prompt stands in.
_WORDS = dict.fromkeys(READERS, "line") | {".json": "entry", ".parquet": "row"}


def read_prompts(source: PromptSource, limit: int | None = None) -> PromptTable:
    """Read a list of prompts, and take at most ``limit`` of them.

    Raises:
        BadInput: it is missing, unreadable, empty or wrong; names the line.
    """
    if source.on_hub:
        source, whole = read_dataset(source)
        files, parts, word = [source.location], [whole], "row"
    else:
        paths = find_files(source.location)
        kind = format_of(paths[0])
        files, parts, word = (
            list(map(str, paths)),
            [READERS[kind](path, unpacked(path)) for path in paths],
            _WORDS[kind],
        )
        if kind == ".txt" and len(paths) > 1:
            parts = _captions(paths, parts)
    rows = _joined(parts)
    if not len(rows.numbers):
        raise BadInput(f"prompt_file {source.location} holds no prompts: write at least one into it")
    _refuse_bytes(rows, source)
    roles = roles_of(list(rows.columns), source)
    for file, part in zip(files, parts, strict=True):
        if len(part.numbers) and roles.prompt not in part.columns:
            raise BadInput(f"{file} has no column '{roles.prompt}': it has {listed(list(part.columns))}")
    starts = itertools.accumulate((len(part.numbers) for part in parts[:-1]), initial=0)
    return _table(source, rows, roles, Places(tuple(files), tuple(starts), rows.numbers, word), limit)


def _read_again(source: PromptSource, digest: str, count: int) -> PromptTable:
    table = read_prompts(source, count)
    if len(table) != count or table.digest(count) != digest:
        raise BadInput(f"prompt_file {source.location} was changed since this command began: run the command again")
    return table


def _reduce(table: PromptTable) -> tuple[Any, ...]:
    """Pickle a table as the place to read it from, not as a million texts."""
    return _read_again, (table.source, table.digest(len(table)), len(table))


copyreg.pickle(PromptTable, _reduce)


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


def _table(source: PromptSource, rows: Rows, roles: Roles, places: Places, limit: int | None) -> PromptTable:
    """Make a table of the rows, whose columns have their roles."""
    notes, doubts = [*rows.notes, *roles.notes], [*roles.doubts]
    if rows.dropped:
        notes.append(f"{source.location}: {listed(rows.dropped)} holds bytes and is dropped")
    columns = dict(rows.columns)
    texts = _texts(columns.pop(roles.prompt), places, source, roles.prompt)
    if not all(texts):
        kept = [index for index, text in enumerate(texts) if text]
        first = next(index for index, text in enumerate(texts) if not text)
        notes.append(f"empty prompts are skipped: {len(texts) - len(kept)} of {len(texts)}, first: {places.at(first)}")
        texts = [texts[index] for index in kept]
        columns = {name: [values[index] for index in kept] for name, values in columns.items()}
        places = places.only(kept)
    if not texts:
        raise BadInput(f"prompt_file {source.location} holds no prompts but empty ones: write at least one into it")
    settings = {
        name: setting_values(name, columns[roles.settings[name]], places, rows.decimal_comma)
        for name in SETTINGS
        if name in roles.settings
    }
    metadata = {name: metadata_values(name, columns[name], places, rows.written) for name in sorted(roles.metadata)}
    if gaps := [_gaps(name, values, places) for name, values in metadata.items() if None in values]:
        doubts.append(f"metadata has no value for some prompts and is null there: {'; '.join(gaps)}")

    def begin(values: Any) -> Any:
        return values if limit is None or limit >= len(values) else values[:limit]

    return PromptTable(
        source,
        begin(texts),
        replace(places, numbers=begin(places.numbers)),
        {name: begin(values) for name, values in settings.items()},
        {name: begin(values) for name, values in metadata.items()},
        tuple(notes),
        tuple(doubts),
    )


def _texts(values: list[Any], places: Places, source: PromptSource, column: str) -> list[str]:
    """Return the prompts, "" for an empty one that is to be skipped."""
    texts = [value.strip() if isinstance(value, str) else "" for value in values]
    if all(texts):
        return texts
    for index, (value, text) in enumerate(zip(values, texts, strict=True)):
        empty = isinstance(value, str) or is_gap(value)
        if not text and not (empty and source.empty == "skip"):
            problem = "has no prompt" if value is None else f"has {brief(value)} as its prompt"
            mend = ", or pass over empty ones with empty_prompts=skip" if empty else ""
            raise BadInput(f"{places.at(index)} {problem}: write a text into its column '{column}'{mend}")
    return texts


def _gaps(name: str, values: list[Any], places: Places) -> str:
    return f"'{name}' of {values.count(None)}, first: {places.at(values.index(None))}"
