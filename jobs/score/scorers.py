"""What a scorer is, and which one a name means.

A scorer that a command knows of (``Scorer``) is small, loads nothing and goes to other processes; ``load`` makes of it
the function that measures (``Measure``). Those of the program and those of a user have the same form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jobs.options.score import ScoreOptions
from jobs.score.checkpoints import find_checkpoint
from jobs.score.embedding import Aesthetic, ClipScore
from jobs.score.fidelity import Fidelity
from jobs.score.nsfw import Nsfw
from jobs.score.own import OwnScorer
from jobs.store.rundir import RunDir

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
        if self.name == "shapes":
            from jobs.score.shapes import shapes

            return shapes
        from jobs.score.basic import basic

        return basic


def find_scorer(name: str, options: ScoreOptions, other: RunDir | None) -> Scorer:
    """Return the scorer that a name means.

    Args:
        name: one of ``ScoreOptions.names``.
        options: of the command.
        other: the run that ``against`` names.

    Raises:
        BadInput: it is nothing for this run, or cannot be found.
    """
    if ":" in name:
        return OwnScorer.find(name, options.gpus or 0)
    if name == "fidelity":
        return Fidelity.find(other)
    gpus = 1 if options.gpus is None else options.gpus
    if name == "nsfw":
        return Nsfw.find(options.nsfw, options.nsfw_labels, gpus)
    if name == "clip":
        return ClipScore(find_checkpoint("clip", options.clip, ("clip",)), gpus)
    if name == "aesthetic":
        return Aesthetic.find(options.clip, options.aesthetic, gpus)
    return BuiltIn(name)
