"""Turns the cells of a column into values: of a setting, or of metadata, which has one type a column."""

import datetime
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from reprlib import repr as brief
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.prompts import SETTINGS, Places
from jobs.options.fields import Limits

EXACT = 2**53  # from here on, whole numbers that were floats may be others than were meant
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_FLOAT = re.compile(rf"{_NUMBER.pattern}|[-+]?(?i:inf(inity)?)")
_WHOLE = re.compile(r"(-?\d+)\.0+")
_COMMA = re.compile(r"(-?\d+),(\d+)")


def is_gap(value: Any) -> bool:
    """Whether a cell of a column of numbers holds none: null, NaN or an empty text."""
    return value is None or value != value or (isinstance(value, str) and value.strip().casefold() in ("", "nan"))


def setting_values(name: str, values: list[Any], places: Places, decimal_comma: bool) -> list[Any]:
    """Return a column of a setting in the option's own type, None where a prompt leaves it open.

    Args:
        name: the option.
        values: cells.
        places: of the cells, for messages.
        decimal_comma: whether "7,5" is a number.

    Raises:
        BadInput: a cell is not what the option takes; names its place.
    """
    limits = SETTINGS[name]
    converted = []
    for index, value in enumerate(values):
        try:
            converted.append(_setting(value, limits, decimal_comma))
        except (ValueError, OverflowError):
            raise BadInput(f"{places.at(index)}: {name} must be {limits.wanted}, not {brief(value)}") from None
    if name == "id":
        _refuse_missing_or_repeated(converted, places)
    return converted


def _setting(value: Any, limits: Limits, decimal_comma: bool) -> Any:
    if value is None or value != value:
        return None
    if isinstance(value, Decimal):  # parquet has numbers and texts of its own
        value = int(value) if value == int(value) else float(value)
    if limits.kind is str:
        if isinstance(value, str):
            if "\0" in value:
                raise ValueError(value)
            return limits.convert(value) if (value := value.strip()) else value  # "" overrides the command line's
        return limits.convert(value if isinstance(value, (dict, list, bool)) else scalar_text(value))
    if isinstance(value, str):
        if is_gap(value):
            return None
        value = _COMMA.sub(r"\1.\2", value.strip()) if decimal_comma else value.strip()
        if limits.kind is int and (whole := _WHOLE.fullmatch(value)):  # pandas makes a column with gaps floats
            value = whole[1]
    elif limits.kind is int and isinstance(value, float) and abs(value) >= EXACT:
        raise ValueError(value)
    return limits.convert(value)


def _refuse_missing_or_repeated(ids: list[str | None], places: Places) -> None:
    first: dict[str, int] = {}
    for index, value in enumerate(ids):
        if not value:
            raise BadInput(
                f"{places.at(index)} has no id: give every prompt one, remove the column, or keep it as metadata "
                "with 'columns={id: metadata}'"
            )
        if value in first:
            raise BadInput(
                f"{places.at(index)} repeats the id '{value}' of {places.at(first[value])}: ids must be unique; "
                "'columns={id: metadata}' keeps them as metadata"
            )
        first[value] = index


def metadata_values(name: str, values: list[Any], places: Places, written: bool) -> list[Any]:
    """Return a column of metadata in one type: whole numbers, numbers, booleans (None for a gap), or text.

    Args:
        name: the column.
        values: cells.
        places: of the cells, for messages.
        written: whether numbers stand there as text.

    Raises:
        BadInput: a number is infinite or too large; names its place.
    """
    if written:
        return _read_cells(name, values, places)
    if float in (kinds := set(map(type, values))):
        values = [None if value != value else value for value in values]
        kinds = set(map(type, values))
    kinds -= {type(None)}
    if kinds == {int, float} or (len(kinds) == 1 and kinds <= {int, float, bool}):
        for index, value in enumerate(values):
            if isinstance(value, float) and math.isinf(value):
                raise BadInput(f"{places.at(index)}: {name} is {value}, which JSON cannot hold: give a finite number")
            if isinstance(value, int) and not _fits(value):
                raise BadInput(f"{places.at(index)}: {name} does not fit 64 bits: write it as text")
        return [None if value is None else float(value) for value in values] if float in kinds else values
    if kinds <= {str}:
        return ["" if value is None else value for value in values]
    return [_text(name, value, index, places) for index, value in enumerate(values)]


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _read_cells(name: str, cells: list[str | None], places: Places) -> list[Any]:
    """Text has no types: a column whose every cell is written as a number, or a gap, is numbers ("007" is none)."""
    if _are_all(cells, _INTEGER.fullmatch):
        whole = [None if cell is None or is_gap(cell) else int(cell) for cell in cells]
        if all(number is None or _fits(number) for number in whole):  # others are names made of digits
            return whole
    elif _are_all(cells, _FLOAT.fullmatch) and any(cell and _NUMBER.fullmatch(cell) for cell in cells):
        numbers = [None if cell is None or is_gap(cell) else float(cell) for cell in cells]
        return metadata_values(name, numbers, places, written=False)
    return ["" if cell is None else cell for cell in cells]


def _are_all(cells: list[str | None], fits: Callable[[str], Any]) -> bool:
    some = False
    for cell in cells:
        if cell is not None and fits(cell):
            some = True
        elif not is_gap(cell):
            return False
    return some


def _text(name: str, value: Any, index: int, places: Places) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, (dict, list, tuple, int, float, bool)):
        return scalar_text(value)
    try:
        try:
            return _json(value)
        except ValueError:  # NaN or an infinity inside
            return _json(_without_nan(value))
    except ValueError:
        raise BadInput(f"{places.at(index)}: {name} holds an infinity, which JSON cannot: remove it") from None
    except RecursionError:
        raise BadInput(f"{places.at(index)}: {name} is nested too deeply: write it as text") from None


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, default=scalar_text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def scalar_text(value: Any) -> str:
    """Return a number, a date or a time as text; dates and times in the form of ISO 8601."""
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)
