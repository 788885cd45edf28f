"""A prompt file as it was read, column by column, before anybody asks what a column is for."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SHARED = 4096  # how many texts of a file are looked at for being repeated


@dataclass(frozen=True)
class Rows:
    """The rows of a file.

    Attributes:
        columns: name -> one value per row; None where a row has none.
        numbers: line, row or entry number of each row, for messages.
        written: whether numbers stand there as text, as in a .csv.
        decimal_comma: whether a comma may be a decimal point.
        dropped: columns that were not read because they hold bytes.
        notes: what to say about how it was read.
    """

    columns: dict[str, list[Any]]
    numbers: Sequence[int]
    written: bool = False
    decimal_comma: bool = False
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class RowCollector:
    """Sorts rows into columns as they come; a column may appear late."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    shared: dict[str, str] = field(default_factory=dict)

    def add(self, number: int, row: dict[str, Any]) -> None:
        """Add the row that stands at a line or entry."""
        for name in row:
            if name not in self.columns:
                self.columns[name] = [None] * len(self.numbers)
        shared, full = self.shared, len(self.shared) >= SHARED
        for name, values in self.columns.items():
            value = row.get(name)
            if type(value) is str:  # metadata is mostly categories: one string serves all the rows that hold it
                value = shared.get(value, value) if full else shared.setdefault(value, value)
            values.append(value)
        self.numbers.append(number)
