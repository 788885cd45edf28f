"""What is known of samples, as columns that a page sorts, filters and draws: pure, from the values of each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from jobs.store.sidecar import FAILED

TEXT = 1_000  # characters of a text that are kept: the json has all of it
_EXACT = 2**53  # up to which JavaScript has whole numbers
FIRST = ("key", "prompt", "status", "reason")


@dataclass(frozen=True)
class Table:
    """Columns, each with one value a sample.

    Attributes:
        columns: name, whether it is of numbers, and the values; of repeated ones each once, with their places.
        alike: what is the same for all samples that were made, by name.
    """

    columns: list[dict[str, Any]]
    alike: dict[str, Any]


def make_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the columns of rows that need not have the same ones.

    Args:
        rows: of each sample its values by name; what a sample does not have is null.
    """
    names = dict.fromkeys([*FIRST, *(name for row in rows for name in row)])
    columns, alike = [], dict[str, Any]()
    for name in names:
        values = [row.get(name) for row in rows]
        found = [value for value in values if value is not None]
        numbers = bool(found) and all(map(_is_number, found))
        plain = [_number(value) if numbers else _text(value) for value in values]
        kinds = list(dict.fromkeys(plain))
        # Samples that were given up lack most.
        counted = {
            value for value, row in zip(plain, rows, strict=True) if value is not None or row["status"] != FAILED
        }
        if name not in FIRST and len(counted) <= 1 and len(rows) > 1:
            if counted - {None}:
                alike[name] = counted.pop()
            continue
        column: dict[str, Any] = {"name": name, "numbers": numbers}
        if len(kinds) > len(plain) // 2:
            columns.append({**column, "values": plain})
        else:
            places = {value: place for place, value in enumerate(kinds)}
            columns.append({**column, "values": kinds, "places": [places[value] for value in plain]})
    return Table(columns, alike)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= _EXACT


def _number(value: Any) -> float | int | None:
    return None if value is None or not isfinite(value) else value


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= TEXT else f"{text[:TEXT]}…"
