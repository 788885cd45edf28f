"""Coefficients of forecasts: a forecast is h(i) = sum_k a_k(i) h_k, and the a_k depend on step numbers alone.

Everything here runs on the host in float64, once per plan. A rule turns the steps evaluated so far into
coefficients; `ChebyshevRule` is the one of the paper (Han et al., arXiv 2603.01623). Another rule, fitted to
data say, is one more class with the two methods of `ForecastRule`, and nothing else changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from spectrum.checks import positive_number, real_number, whole_number
from spectrum.errors import SpectrumError


class ForecastRule(Protocol):
    """What gives the coefficients of a forecast."""

    def coefficients(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> NDArray[np.float64]:
        """Return a(step), (K,), for the K steps in `evaluated_before`, ascending below `step`."""
        ...

    def describe(self) -> str:
        """Name the rule with every number that its coefficients depend on; part of a plan's digest."""
        ...


@runtime_checkable
class SuitableRule(ForecastRule, Protocol):
    """A rule whose numbers depend on the schedule."""

    def suited_to(self, num_steps: int, evaluated: Sequence[int]) -> ForecastRule:
        """Return the rule with the numbers for that schedule, of which `coefficients` sees beginnings only."""
        ...


def forecast_coefficients(
    evaluated_before: Sequence[int], step: int, *, w: float, lam: float, m: int, horizon: int
) -> NDArray[np.float64]:
    """Mix the Chebyshev and the linear forecast: a(i) = w a_cheb(i) + (1 - w) a_lin(i).

    Args:
        evaluated_before: The K >= 1 evaluated steps e_1 < ... < e_K before `step`.
        step: The step to forecast, i.
        w: Share of the Chebyshev part, from 0 to 1.
        lam: Ridge penalty of the Chebyshev fit, above 0.
        m: Degree of the Chebyshev fit: m + 1 columns T_0 ... T_m.
        horizon: H of the time map tau(i) = 2 i / H - 1.

    Returns:
        The coefficients a(i) of the K evaluated features, float64 (K,).

    Raises:
        SpectrumError: There is no evaluated step, or they do not ascend to below `step`.
    """
    order = (*evaluated_before, step)
    if len(order) < 2 or any(later <= earlier for earlier, later in pairwise(order)):
        raise SpectrumError(
            f"a forecast of step {step} needs ascending evaluated steps below it, not {tuple(evaluated_before)}"
        )
    a: NDArray[np.float64] = coefficients_of_steps(evaluated_before, [step], w=w, lam=lam, m=m, horizon=horizon)[0]
    return a


def coefficients_of_steps(
    evaluated_before: Sequence[int],
    steps: Sequence[int] | NDArray[np.int_],
    *,
    w: float,
    lam: float,
    m: int,
    horizon: int,
) -> NDArray[np.float64]:
    """Return `forecast_coefficients` for S steps that follow the same K evaluated ones, float64 (S, K)."""
    evaluated = np.asarray(evaluated_before, dtype=np.float64)
    forecast = np.asarray(steps, dtype=np.float64)
    return w * _chebyshev(evaluated, forecast, lam, m, horizon) + (1 - w) * _linear(evaluated, forecast)


def _chebyshev(
    evaluated: NDArray[np.float64], steps: NDArray[np.float64], lam: float, m: int, horizon: int
) -> NDArray[np.float64]:
    """Return a_cheb, (S, K): a_cheb(i) = phi(i) (X^T X + lam I)^-1 X^T, phi(i) = [T_0(tau(i)) ... T_m(tau(i))]."""
    X = chebvander(2 * evaluated / horizon - 1, m)  # row k is phi(e_k), (K, m + 1)
    phi = chebvander(2 * steps / horizon - 1, m)  # (S, m + 1)
    a_cheb: NDArray[np.float64] = phi @ np.linalg.solve(X.T @ X + lam * np.eye(m + 1), X.T)
    return a_cheb


def _linear(evaluated: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a_lin, (S, K), of h_K + r (h_K - h_{K-1}), r = (i - e_K) / (e_K - e_{K-1}); a lone feature is held."""
    a_lin = np.zeros((len(steps), len(evaluated)))
    a_lin[:, -1] = 1.0
    if len(evaluated) > 1:
        ratio = (steps - evaluated[-1]) / (evaluated[-1] - evaluated[-2])
        a_lin[:, -1] += ratio
        a_lin[:, -2] -= ratio
    return a_lin


@dataclass(frozen=True)
class ChebyshevRule:
    """The rule of the paper; the fields are those of `forecast_coefficients`.

    Attributes:
        w: Share of the Chebyshev part, from 0 (linear only) to 1 (Chebyshev only).
        lam: Ridge penalty, above 0.
        m: Degree of the fit, at least 0.
        horizon: H of the time map; None takes the number of steps. The published code fixes it at 50.
    """

    w: float
    lam: float
    m: int
    horizon: int | None = None

    def __post_init__(self) -> None:
        real_number("w", self.w, least=0, most=1)
        positive_number("lam", self.lam)  # without a penalty a small fit has no one solution
        whole_number("m", self.m, least=0)
        if self.horizon is not None:
            whole_number("horizon", self.horizon, least=1)

    def coefficients(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> NDArray[np.float64]:
        """Return `forecast_coefficients` of these numbers, (K,)."""
        horizon = num_steps if self.horizon is None else self.horizon
        return forecast_coefficients(evaluated_before, step, w=self.w, lam=self.lam, m=self.m, horizon=horizon)

    def coefficients_of_steps(
        self, evaluated_before: Sequence[int], steps: Sequence[int] | NDArray[np.int_], num_steps: int
    ) -> NDArray[np.float64]:
        """Return the same for S steps at once, (S, K)."""
        horizon = num_steps if self.horizon is None else self.horizon
        return coefficients_of_steps(evaluated_before, steps, w=self.w, lam=self.lam, m=self.m, horizon=horizon)

    def describe(self) -> str:
        """Name the rule and its numbers."""
        return f"chebyshev w={float(self.w)!r} lam={float(self.lam)!r} m={self.m} horizon={self.horizon}"
