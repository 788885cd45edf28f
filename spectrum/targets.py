"""The targets: what can be forecast of a denoiser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from spectrum.controlnets import spared_blocks
from spectrum.errors import SpectrumError
from spectrum.follower import Follower
from spectrum.hooks import FeatureHooks, is_hooked
from spectrum.interception import is_intercepted
from spectrum.outputs import OutputCalls, spared_calls


class Spared(Protocol):
    """A ControlNet whose work is left out where nobody reads it."""

    def remove(self) -> None:
        """Leave the ControlNet as it was found."""


@dataclass(frozen=True)
class Target:
    """How one target is forecast.

    Attributes:
        follower: What is attached to each denoiser.
        spare: (pipe, is_unused) -> what is attached to the ControlNets.
    """

    follower: type[Follower]
    spare: Callable[[Any, Callable[[], bool]], Sequence[Spared]]


TARGETS = {
    "features": Target(FeatureHooks, spared_blocks),
    "output": Target(OutputCalls, spared_calls),
}


def target_named(name: str) -> Target:
    """Return a target by its name.

    Raises:
        SpectrumError: There is none.
    """
    if name not in TARGETS:
        raise SpectrumError(f"must be one of {', '.join(TARGETS)}, not {name!r}", option="target")
    return TARGETS[name]


def is_attached(denoiser: nn.Module) -> bool:
    """Return whether Spectrum is attached to the denoiser, for any target."""
    return is_hooked(denoiser) or is_intercepted(denoiser)
