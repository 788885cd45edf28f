"""Makes the table of prompts from rows whose columns have their roles."""

from dataclasses import replace
from reprlib import repr as brief
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.columns import Roles, listed
from jobs.dataset.prompts import SETTINGS, Places, PromptTable
from jobs.dataset.rows import Rows
from jobs.dataset.source import PromptSource
from jobs.dataset.values import is_gap, metadata_values, setting_values
from jobs.options.aliases import option_meant

_UNSEEN = "\u200b\u2060\ufeff"  # zero-width space, word joiner, byte-order mark of a file that was appended


def table_of(source: PromptSource, rows: Rows, roles: Roles, places: Places, limit: int | None) -> PromptTable:
    """Make a table of all rows, and take at most ``limit`` prompts of it.

    Raises:
        BadInput: a prompt is empty, or a cell is not what its column must be; names its place.
    """
    notes, doubts = [*rows.notes, *roles.notes], [*roles.doubts]
    if rows.dropped:
        notes.append(f"{source.location}: what holds bytes is dropped: {listed(rows.dropped)}")
    columns = dict(rows.columns)
    prompts = columns.pop(roles.prompt)
    if rows.written:  # as in the columns of numbers beside it
        prompts = ["" if value in ("NaN", "nan") else value for value in prompts]
    texts = _texts(prompts, places, source, roles.prompt)
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
    if inside := [key for name in roles.metadata for key in _options_inside(name, columns[name], source)]:
        doubts.append(f"{source.location}: no sample is made as metadata has it in {listed(inside)}")
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
    texts = [_stripped(value) if isinstance(value, str) else "" for value in values]
    for index, text in enumerate(texts):
        if "\0" in text:
            raise BadInput(f"{places.at(index)} holds a zero character in its prompt: remove it")
    if all(texts):
        return texts
    for index, (value, text) in enumerate(zip(values, texts, strict=True)):
        empty = isinstance(value, str) or is_gap(value)
        if not text and not (empty and source.empty == "skip"):
            problem = "has no prompt" if value is None else f"has {brief(value)} as its prompt"
            mend = ", or pass over empty ones with empty_prompts=skip" if empty else ""
            raise BadInput(f"{places.at(index)} {problem}: write a text into its column '{column}'{mend}")
    return texts


def _options_inside(name: str, values: list[Any], source: PromptSource) -> list[str]:
    """Return what may be meant as options within the first object of a column of objects, such as ``params.steps``."""
    if name in source.columns:  # said to be metadata
        return []
    first = next((value for value in values if isinstance(value, dict)), {})
    names = [str(key) for key in first if len(str(key)) > 1]  # w and h are a box's
    meant = {key: option_meant(key, misspelt=False) for key in names}
    return [f"{name}.{key}" for key, option in meant.items() if option not in (None, "prompt")]


def _stripped(text: str) -> str:
    """Return a text without what is not seen around it: spaces, and characters of no width."""
    return text.strip().strip(_UNSEEN).strip()


def _gaps(name: str, values: list[Any], places: Places) -> str:
    return f"'{name}' of {values.count(None)}, first: {places.at(values.index(None))}"
