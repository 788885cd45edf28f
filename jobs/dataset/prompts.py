"""The table of prompts: texts, per-prompt settings and metadata, column by column.

The columns that ``SETTINGS`` names override the command line for that prompt, ``id`` must be unique, and every other
column is metadata that travels into the sample's json. Metadata is typed by column: whole numbers, numbers, booleans
or text (anything nested becomes JSON text). A missing text is "", and a missing number or boolean None.
"""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from jobs.dataset.source import PromptSource
from jobs.options.fields import Limits, limits_of
from jobs.options.model import SampleOptions
from jobs.options.schema import Options

PIECE = 1 << 14  # values that are hashed at once

# The columns that are settings rather than metadata, and what they take.
SETTINGS: dict[str, Limits] = {
    "seed": limits_of(Options, "seed"),
    **{one.name: limits_of(SampleOptions, one.name) for one in fields(SampleOptions)},
    "id": Limits(str),
}


@dataclass(frozen=True)
class Places:
    """Where each prompt stands, for messages.

    Attributes:
        files: the files, in order.
        starts: of each file, the index of its first prompt.
        numbers: of each prompt, its line (row, entry) in its file.
        word: what a prompt stands in.
    """

    files: tuple[str, ...]
    starts: tuple[int, ...]
    numbers: Sequence[int]
    word: str = "line"

    def at(self, index: int) -> str:
        """Return the place of prompt ``index``."""
        return f"{self.files[bisect_right(self.starts, index) - 1]} {self.word} {self.numbers[index]}"

    def only(self, kept: list[int]) -> "Places":
        """Return the places of some prompts, which their indices name in rising order."""
        starts = tuple(bisect_left(kept, start) for start in self.starts)
        return replace(self, starts=starts, numbers=[self.numbers[index] for index in kept])


@dataclass(frozen=True)
class PromptTable:
    """Prompts and what came with them, column by column.

    Attributes:
        source: where they were read from, and how.
        texts: the prompts, in order.
        places: where each one stands.
        settings: per-prompt overrides: column -> one value or None per prompt; only columns that exist.
        metadata: free columns: column -> one value per prompt, of one type; None for a missing number or boolean.
        notes: what a person should know of how they were read, a sentence each.
        doubts: what a person should look at, a sentence each.
    """

    source: PromptSource
    texts: list[str]
    places: Places
    settings: dict[str, list[Any]] = field(default_factory=dict)
    metadata: dict[str, list[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def path(self) -> str:
        """Where the prompts were read from, as messages name it."""
        return self.source.location

    def own_settings(self, index: int) -> dict[str, Any]:
        """Return what prompt ``index`` sets itself."""
        return {name: values[index] for name, values in self.settings.items() if values[index] is not None}

    def where(self, index: int) -> str:
        """Return the human-readable place of prompt ``index``."""
        return self.places.at(index)

    def digest(self, count: int) -> str:
        """Return a hex digest of the first ``count`` prompts and all that came with them.

        It is the same whatever the file is called, how it is written, and how many prompts follow.
        """
        digest = hashlib.sha256()
        parts = [("prompt", "", self.texts)]
        parts += [("setting", name, values) for name, values in sorted(self.settings.items())]
        parts += [("metadata", name, values) for name, values in sorted(self.metadata.items())]
        for role, name, values in parts:
            digest.update(json.dumps([role, name]).encode())
            for start in range(0, count, PIECE):
                digest.update(json.dumps(values[start : min(start + PIECE, count)]).encode())
        return digest.hexdigest()
