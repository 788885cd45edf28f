"""Search for the evaluated steps that make calibrated forecasts least wrong. Pure: host arithmetic in float64."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectrum.checks import whole_number
from spectrum.errors import SpectrumError

# A rule's coefficients for steps that follow the same evaluated ones: (evaluated (K,), steps (S,)) -> (S, K)
CoefficientsOfSteps = Callable[[Sequence[int], NDArray[np.int_]], NDArray[np.float64]]


@dataclass(frozen=True)
class ScheduleSearch:
    """A search for the cheapest schedule of a number of evaluations.

    The error of a forecast depends on all evaluations before it, so this is no shortest path. It goes through
    the steps as one would for a shortest path all the same, and keeps for each number of evaluations and each
    last one the `beam` cheapest beginnings instead of the cheapest. Evaluations before the last few hardly
    change a forecast, which is why that finds what exchanging steps would not improve.

    Attributes:
        gram: Expected inner products of the features of n steps, float64 (n, n).
        coefficients: The rule that forecasts.
        beam: Beginnings kept.
    """

    gram: NDArray[np.float64]
    coefficients: CoefficientsOfSteps
    beam: int = 8

    def errors(self, evaluated: Sequence[int]) -> NDArray[np.float64]:
        """Return the expected squared relative error of each later step if no more is evaluated, (n - 1 - e_K,).

        E |h_i - sum_k a_k(i) h_k|^2 / E |h_i|^2, from inner products alone.
        """
        chosen = np.asarray(evaluated)
        steps = np.arange(chosen[-1] + 1, len(self.gram))
        a = self.coefficients(evaluated, steps)  # (S, K)
        size = self.gram[steps, steps]
        within = self.gram[np.ix_(chosen, chosen)]
        squares = size + np.einsum("sk,sk->s", a, a @ within - 2 * self.gram[np.ix_(steps, chosen)])
        relative: NDArray[np.float64] = np.maximum(squares, 0) / size
        return relative

    def total(self, evaluated: Sequence[int]) -> float:
        """Return the cost of a schedule: the sum of the squared relative errors of its forecasts."""
        ends = (*evaluated[1:], len(self.gram))
        gaps = (self.errors(evaluated[: k + 1])[: end - evaluated[k] - 1] for k, end in enumerate(ends))
        return float(sum(gap.sum() for gap in gaps))

    def best(self, evaluations: int) -> tuple[int, ...]:
        """Return the cheapest schedule found; step 0 is always in it.

        Raises:
            SpectrumError: `evaluations` is not from 1 to n.
        """
        return self.ends(evaluations)[0][1]

    def ends(self, evaluations: int) -> list[tuple[float, tuple[int, ...]]]:
        """Return the cheapest schedule found for each last evaluation, with its cost, the cheapest of all first.

        Raises:
            SpectrumError: `evaluations` is not from 1 to n.
        """
        n = len(self.gram)
        if whole_number("evaluations", evaluations, least=1) > n:
            raise SpectrumError(f"must be at most the number of steps, {n}, not {evaluations}", option="evaluations")
        beginnings: list[tuple[float, tuple[int, ...]]] = [(0.0, (0,))]
        for left in range(evaluations - 1, 0, -1):
            following: dict[int, list[tuple[float, tuple[int, ...]]]] = {}
            for longer in self._longer(beginnings, n - left):
                following.setdefault(longer[1][-1], []).append(longer)
            beginnings = [kept for some in following.values() for kept in sorted(some)[: self.beam]]
        found: dict[int, tuple[float, tuple[int, ...]]] = {}
        for cost, steps in beginnings:
            whole = (cost + float(self.errors(steps).sum()), steps)
            found[steps[-1]] = min(found.get(steps[-1], whole), whole)
        return sorted(found.values())

    def _longer(
        self, beginnings: list[tuple[float, tuple[int, ...]]], last: int
    ) -> Iterator[tuple[float, tuple[int, ...]]]:
        """Yield each beginning with one more evaluation, at `last` the latest, and its cost up to there."""
        for cost, steps in beginnings:
            costs = cost + np.concatenate([[0.0], np.cumsum(self.errors(steps))])
            for step in range(steps[-1] + 1, last + 1):
                yield float(costs[step - steps[-1] - 1]), (*steps, step)
