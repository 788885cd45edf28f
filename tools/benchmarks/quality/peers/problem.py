"""What the peers are given, and what they make of it. Pure numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Weights = Callable[[Sequence[int], int], np.ndarray]  # (evaluated steps so far (K,), step) -> (K,)


@dataclass(frozen=True, eq=False)
class Problem:
    """A model at one number of steps n, as sixteen all-steps trajectories show it.

    Attributes:
        features, outputs: Expected inner products of what enters the head, and of what the denoiser returns, at any two
            steps: (n, n).
        times: Of the probability flow at each step and at its end, falling: (n + 1,). A sample moves by the difference
            of times times the output.
    """

    features: np.ndarray
    outputs: np.ndarray
    times: np.ndarray

    @property
    def steps(self) -> int:
        """Denoising steps, n."""
        return len(self.features)

    @cached_property
    def moves(self) -> np.ndarray:
        """How far a sample moves at each step for an output of one: (n,)."""
        return -np.diff(self.times)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a peer chose: a ``spectrum.ForecastRule`` for the one schedule that it evaluates.

    Attributes:
        name: Of the peer.
        evaluated: Steps, ascending from 0.
        weights: Of each other step, those of the evaluated steps before it.
        target: What is forecast, "features" or "output".
    """

    name: str
    evaluated: tuple[int, ...]
    weights: Mapping[int, np.ndarray]
    target: str

    @classmethod
    def of(cls, name: str, evaluated: Sequence[int], steps: int, weights: Weights, target: str) -> "Plan":
        """Work out the weights of every step that is not evaluated."""
        found = {}
        for step in sorted({*range(steps)} - {*evaluated}):
            found[step] = weights([known for known in evaluated if known < step], step)
        return cls(name, tuple(evaluated), found, target)

    def coefficients(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> np.ndarray:
        """Return float64 (K,) for the K steps in ``evaluated_before``, which are those of the plan."""
        return self.weights[step]

    def describe(self) -> str:
        """Return what tells this plan from others, for a step plan's digest."""
        return f"{self.name} {self.target} {self.evaluated}"


def hold(evaluated: Sequence[int], step: int) -> np.ndarray:
    """Return the weights that repeat the last evaluation."""
    return np.eye(len(evaluated))[-1]


def taylor(evaluated: Sequence[int], step: int, order: int = 2) -> np.ndarray:
    """Return the weights of a Taylor forecast whose derivatives are backward differences of the last evaluations.

    Of lower order where fewer are evaluated; the differences are divided by the distances of the evaluations.
    """
    derivative, last, total = np.eye(len(evaluated)), evaluated[-1], np.zeros(len(evaluated))
    factor = 1.0
    for power in range(min(order, len(evaluated) - 1) + 1):
        total += factor * derivative[-1]
        factor *= (step - last) / (power + 1)
        if len(derivative) > 1:
            gaps = np.diff(np.asarray(evaluated)[-len(derivative) :])
            derivative = np.diff(derivative, axis=0) / gaps[:, None]
    return total
