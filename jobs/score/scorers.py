"""What a scorer is, and which one a name means.

A scorer that a command knows of (``Scorer``) is small, loads nothing and goes to other processes; ``load`` makes of it
the function that measures (``Measure``). Those of the program and those of a user have the same form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jobs.base.errors import BadInput
from jobs.options.score import ScoreOptions
from jobs.score.own import OwnScorer

# (uint8 [n, height, width, 3], or of clips [n, frames, height, width, 3]; rows of the sidecar) -> column -> n values.
Measure = Callable[[np.ndarray, list[dict[str, Any]]], dict[str, Sequence[Any]]]


class Scorer(Protocol):
    """A scorer, before it is loaded.

    Attributes:
        name: as it is asked for, and what its folder is called.
        gpus: that each of its processes needs.
        sample_seconds: what a sample may take, roughly.
        identity: what decides its scores, in json types.
        inputs: files and folders that it reads.
        by_batch: whether a sample's scores may depend on what is scored with it, if only in last bits.
    """

    @property
    def name(self) -> str: ...

    @property
    def gpus(self) -> int: ...

    @property
    def sample_seconds(self) -> float: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def inputs(self) -> list[Path]: ...

    @property
    def by_batch(self) -> bool: ...

    def check(self) -> None:
        """Make sure that all it needs is here.

        Raises:
            BadInput: what is missing, and where it comes from.
        """

    def load(self, device: str) -> Measure:
        """Return the function that measures, on a torch device."""


@dataclass(frozen=True)
class BuiltIn:
    """Measures of pixels and sentences, which need nothing but numpy, or torch.

    Attributes:
        name: see ``Scorer``.
        version: raised when its measures change.
    """

    name: str
    version: int = 1
    gpus: int = 0
    sample_seconds: float = 0.1
    by_batch: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """See ``Scorer``."""
        return {"scorer": self.name, "version": self.version}

    @property
    def inputs(self) -> list[Path]:
        """See ``Scorer``."""
        return []

    def check(self) -> None:
        """See ``Scorer``."""

    def load(self, device: str) -> Measure:
        """See ``Scorer``."""
        from jobs.score.basic import basic

        return basic


def find_scorer(name: str, options: ScoreOptions, record: dict[str, Any]) -> Scorer:
    """Return the scorer that a name means.

    Args:
        name: one of ``ScoreOptions.names``.
        options: of the command.
        record: the run's run.json.

    Raises:
        BadInput: it is nothing for this run, or cannot be found.
    """
    if ":" in name:
        return OwnScorer.find(name, options.gpus)
    if name == "basic":
        return BuiltIn("basic")
    raise BadInput(f"there is no scorer '{name}'")
