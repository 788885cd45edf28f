"""Markdown of what others wrote: shown as it is, whatever it holds."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_BASIC_CHARACTERS = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def plain(text: str) -> str:
    """Return a text as Markdown and HTML show it letter by letter, on one line."""
    return _BASIC_CHARACTERS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def grid(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; numbers stand right, and columns but the first in which nothing is said are left out."""
    found = [list(row) for row in rows]
    shown = [place for place in range(len(titles)) if not place or any(row[place] not in ("", None) for row in found)]
    numbers = [all(isinstance(row[place], int) for row in found) for place in shown]
    lines = [
        [titles[place] for place in shown],
        ["--:" if number else "--" for number in numbers],
        *([plain("" if row[place] is None else str(row[place])) for place in shown] for row in found),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
