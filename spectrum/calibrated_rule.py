"""Coefficients fitted to recorded features (or outputs): least squares from nothing but their inner products.

For evaluated steps e and a forecast step i the coefficients that make E |h_i - sum_k a_k h_k|^2 smallest are
G_ee^-1 G_ei, with the Gram matrix G of a calibration. But forecasts lead a trajectory away from those that were
recorded, by a difference that changes slowly from step to step, and coefficients that suit the recorded features alone
may do anything to it. So the features are taken to be the recorded ones and a straight line in the step as large as
they are, in a direction nobody knows, and the coefficients are shrunk a little towards a_0, which extrapolates straight
lines:

    a(i) = (S_ee + mu I)^-1 (S_ei + mu a_0(i)),  S_ij = G_ij + 1 + t_i t_j,  t from -1 to 1,  mean_i G_ii = 1

Where features are smooth, many evaluations are near each other, and an a_0 that extrapolates parabolas (a Taylor
forecast of order 2) is the better one to shrink towards. Which mu and which a_0 are best for a number of evaluations
is chosen by real samples, with the schedule.

No torch here: a plan is made on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spectrum.calibration import Calibration, Fit
from spectrum.checks import positive_number, whole_number
from spectrum.coefficients import ChebyshevRule
from spectrum.errors import SpectrumError
from spectrum.search import ScheduleSearch

_LINE = ChebyshevRule(w=0, lam=1, m=0)  # extrapolates from the last two features


@dataclass(frozen=True)
class CalibratedRule:
    """A `ForecastRule` from a calibration.

    Attributes:
        calibration: What was recorded.
        shrinkage: mu above, more than 0. Of those measured, 1e-3 is the best for all evaluation counts together.
        target: What is forecast: "features" or "output". Schedules are those that suit the features in either case,
            if they were recorded: those that suit the outputs' matrix lead to worse samples.
        order: Degree of the polynomials that a_0 extrapolates, 1 or 2.

    Raises:
        SpectrumError: `shrinkage` or `order` is out of range, or nothing was recorded of the target.
    """

    calibration: Calibration
    shrinkage: float = Fit().shrinkage
    target: str = "features"
    order: int = Fit().order

    def __post_init__(self) -> None:
        positive_number("shrinkage", self.shrinkage)  # features that hardly differ have no one solution
        if whole_number("order", self.order, least=1) > 2:
            raise SpectrumError(f"must be 1 or 2, not {self.order}", option="order")
        if not self.calibration.of(self.target):
            raise SpectrumError(f"the calibration has nothing of the target {self.target}: record it too")

    def coefficients(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> NDArray[np.float64]:
        """Return a(step), (K,), for the K steps in `evaluated_before`, ascending below `step`."""
        a: NDArray[np.float64] = self.coefficients_of_steps(evaluated_before, [step], num_steps)[0]
        return a

    def coefficients_of_steps(
        self, evaluated_before: Sequence[int], steps: Sequence[int] | NDArray[np.int_], num_steps: int
    ) -> NDArray[np.float64]:
        """Return the same for S steps at once, (S, K)."""
        before, after = np.asarray(evaluated_before), np.asarray(steps)
        time = np.linspace(-1, 1, num_steps)
        expected = (
            self.calibration.gram(num_steps, self.target)[before] + 1 + np.outer(time[before], time)
        )  # S_e, (K, n)
        if self.order == 1:
            towards = _LINE.coefficients_of_steps(evaluated_before, after, num_steps)
        else:
            towards = _parabola(before, after)
        penalty = self.shrinkage * np.eye(len(before))
        a: NDArray[np.float64] = np.linalg.solve(
            expected[:, before] + penalty, expected[:, after] + self.shrinkage * towards.T
        ).T
        return a

    def suited_to(self, num_steps: int, evaluated: Sequence[int]) -> "CalibratedRule":
        """Return the rule fitted as was chosen for that schedule; itself if nothing was, or its numbers are unusual."""
        count = len(evaluated)
        if Fit(self.shrinkage, self.order) != Fit():
            return self
        if self.calibration.schedules.get(num_steps, {}).get(count) != tuple(evaluated):
            return self
        fit = self.calibration.fits.get(self.target, {}).get(num_steps, {}).get(count)
        return replace(self, shrinkage=fit.shrinkage, order=fit.order) if fit else self

    def schedule(self, num_steps: int, evaluations: int) -> tuple[int, ...]:
        """Return the schedule chosen for a number of evaluations, else the best one found: `spectrum.search`.

        Raises:
            SpectrumError: The calibration has not that number of steps, or they are fewer than the evaluations.
        """
        chosen = self.calibration.schedules.get(num_steps, {}).get(evaluations)
        return chosen or self._search(num_steps).best(evaluations)

    def near(self, num_steps: int, evaluations: int, decibels: float) -> list[tuple[int, ...]]:
        """Return the best schedule found for each last evaluation whose expected error is near the least.

        Args:
            num_steps: n.
            evaluations: Evaluated steps.
            decibels: How much larger the expected error may be.

        Raises:
            SpectrumError: As `schedule`.
        """
        ends = self._search(num_steps).ends(evaluations)
        return [steps for cost, steps in ends if cost <= ends[0][0] * 10 ** (decibels / 10)]

    def expected_error(self, num_steps: int, evaluated: Sequence[int]) -> float:
        """Return what `schedule` makes small, of any schedule: the sum of the expected squared relative errors."""
        return self._search(num_steps).total(evaluated)

    def describe(self) -> str:
        """Name the rule, its numbers and the calibration."""
        of = "" if self.target == "features" else f" of the {self.target}"
        kinds = "lines" if self.order == 1 else "lines, parabolas"
        return f"calibrated {self.calibration.digest} shrinkage={float(self.shrinkage)!r} {kinds}{of}"

    def _search(self, num_steps: int) -> ScheduleSearch:
        target = "features" if self.calibration.grams else self.target
        rule, gram = replace(self, target=target), self.calibration.gram(num_steps, target)
        return ScheduleSearch(gram, lambda evaluated, steps: rule.coefficients_of_steps(evaluated, steps, num_steps))


def _parabola(before: NDArray[np.int_], after: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return what extrapolates a parabola through the last three features, a line or a constant through fewer, (S, K).

    Lagrange's polynomials.
    """
    last = before[-3:]
    a = np.zeros((len(after), len(before)))
    for place, one in enumerate(last, start=len(before) - len(last)):
        others = last[last != one]
        a[:, place] = np.prod((after[:, None] - others) / (one - others), axis=1)
    return a
