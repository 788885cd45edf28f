"""Markdown of what others wrote: shown as it is, whatever it holds."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_BASIC_CHARACTERS = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")
_MOST, _LONGEST = 50, 1_000  # rows of a table, and characters of a cell


def plain(text: str) -> str:
    """Return a text as Markdown and HTML show it letter by letter, on one line."""
    return _BASIC_CHARACTERS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def grid(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; numbers stand right, and columns but the first in which nothing is said are left out.

    Of very many rows the first are shown, and of long texts the beginning; other files have all.
    """
    found = [list(row) for row in rows]
    more = len(found) - _MOST
    found = found[:_MOST] if more > 0 else found
    shown = [place for place in range(len(titles)) if not place or any(row[place] not in ("", None) for row in found)]
    numbers = [all(isinstance(row[place], int) for row in found) for place in shown]
    lines = [
        [titles[place] for place in shown],
        ["--:" if number else "--" for number in numbers],
        *([plain(_cut("" if row[place] is None else str(row[place]))) for place in shown] for row in found),
    ]
    if more > 0:
        lines.append([f"... and {more:,} more, in `stats.json`", *([""] * (len(shown) - 1))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
