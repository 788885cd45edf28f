"""Where prompts come from and how they are read: all that is needed to read the same ones again elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.schema import Options

HUB = "hf://"
_DATASET = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^@]+))?")


@dataclass(frozen=True)
class PromptSource:
    """A list of prompts, named rather than read.

    Attributes:
        location: a file, a folder, a glob, or ``hf://datasets/OWNER/NAME[@REVISION]``, as messages name it.
        prompt_column: the column that holds the prompts; None: found by its name.
        split: the split of a dataset of the hub, or ``CONFIGURATION/SPLIT``; None: the one there is, or ``train``.
        columns: column -> what it is taken for, as the user said.
        empty: what becomes of empty prompts: ``error`` or ``skip``.
        commit: of a dataset of the hub, the commit that is read; None: what its revision means by now.
    """

    location: str
    prompt_column: str | None = None
    split: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    empty: str = "error"
    commit: str | None = None

    @property
    def on_hub(self) -> bool:
        """Whether it is a dataset of the hub."""
        return self.location.startswith(HUB)

    @property
    def name(self) -> str:
        """What a run is called after it: a file's name without endings, or that of the folder or dataset."""
        if self.on_hub:
            return self.dataset()[0].partition("/")[2]
        path = Path(self.location).expanduser()
        while not path.exists() and re.search(r"[*?\[]", str(path)):
            path = path.parent
        return path.resolve().name if path.is_dir() else Path(re.sub(r"(?i)\.gz$", "", path.name)).stem

    def dataset(self) -> tuple[str, str | None]:
        """Return the hub's id of a dataset, ``OWNER/NAME``, and the revision that was asked for.

        Raises:
            BadInput: the location is not written so.
        """
        match = _DATASET.fullmatch(self.location)
        if match is None:
            raise BadInput(
                f"prompt_file {self.location} names no dataset of the hub: write hf://datasets/OWNER/NAME, "
                "with @REVISION behind it where another than its newest is meant"
            )
        return match[1], match[2]


def source_of(options: Options) -> PromptSource:
    """Return what the options say about the prompts."""
    return PromptSource(
        options.prompt_file, options.prompt_column, options.prompt_split, options.columns or {}, options.empty_prompts
    )
