"""Markdown tables whose columns line up in the source as well."""

import re
from collections.abc import Sequence

NUMBER = re.compile(r"[+-]?[\d.]")  # how a cell begins that belongs at the right


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with padded columns; columns of numbers are aligned at the right.

    Args:
        header: Titles of the columns.
        rows: Cells as they are shown, as many in each row as there are titles.

    Raises:
        ValueError: A row has more or fewer cells than the header.
    """
    lines = [[cell.replace("|", r"\|") for cell in line] for line in (header, *rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    right = [_is_numeric(column[1:]) for column in columns]
    rule = ["-" * (width - 1) + ":" if flush else "-" * width for width, flush in zip(widths, right, strict=True)]

    def row(line: Sequence[str]) -> str:
        cells = zip(line, widths, right, strict=True)
        return f"| {' | '.join(cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in cells)} |"

    return "\n".join(map(row, (lines[0], rule, *lines[1:])))


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(NUMBER.match(cell) for cell in filled)
