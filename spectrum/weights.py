"""Forecast weights: a forecast is h(i) = sum_k a_k(i) h_k, and the a_k depend on step numbers alone.

Everything here runs on the host in float64, once per plan. A rule turns the steps evaluated so far into
weights; `ChebyshevRule` is the one of the paper (Han et al., arXiv 2603.01623). Another rule, fitted to data
say, is one more class with the two methods of `ForecastRule`, and nothing else changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from spectrum.errors import SpectrumError
from spectrum.schedule import real_number, whole_number


class ForecastRule(Protocol):
    """Gives the weights of a forecast."""

    def weights(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> np.ndarray:
        """Returns a(step), float64 (K,), for the K steps in `evaluated_before`, ascending below `step`."""
        ...

    def describe(self) -> str:
        """Names the rule with every number that its weights depend on; part of a plan's digest."""
        ...


def forecast_weights(
    evaluated_before: Sequence[int], step: int, *, w: float, lam: float, m: int, horizon: int
) -> np.ndarray:
    """Mixes the Chebyshev and the linear forecast: a(i) = w a_cheb(i) + (1 - w) a_lin(i).

    Args:
        evaluated_before: The K >= 1 evaluated steps e_1 < ... < e_K before `step`.
        step: The step to forecast, i.
        w: Share of the Chebyshev part, from 0 to 1.
        lam: Ridge penalty of the Chebyshev fit, above 0.
        m: Degree of the Chebyshev fit: m + 1 columns T_0 ... T_m.
        horizon: H of the time map tau(i) = 2 i / H - 1.

    Returns:
        The weights a(i) of the K evaluated features, float64 (K,).

    Raises:
        SpectrumError: There is no evaluated step, or they do not ascend to below `step`.
    """
    order = (*evaluated_before, step)
    if len(order) < 2 or any(later <= earlier for earlier, later in pairwise(order)):
        raise SpectrumError(
            f"A forecast of step {step} needs ascending evaluated steps below it, not {tuple(evaluated_before)}."
        )
    return weights_of_steps(evaluated_before, [step], w=w, lam=lam, m=m, horizon=horizon)[0]


def weights_of_steps(
    evaluated_before: Sequence[int], steps: Sequence[int] | np.ndarray, *, w: float, lam: float, m: int, horizon: int
) -> np.ndarray:
    """The weights of `forecast_weights` for S steps that follow the same K evaluated ones, float64 (S, K)."""
    evaluated = np.asarray(evaluated_before, dtype=np.float64)
    forecast = np.asarray(steps, dtype=np.float64)
    return w * _chebyshev(evaluated, forecast, lam, m, horizon) + (1 - w) * _linear(evaluated, forecast)


def _chebyshev(evaluated: np.ndarray, steps: np.ndarray, lam: float, m: int, horizon: int) -> np.ndarray:
    """a_cheb(i) = phi(i) (X^T X + lam I)^-1 X^T, phi(i) = [T_0(tau(i)) ... T_m(tau(i))], X = rows phi(e_k)"""
    X = chebvander(2 * evaluated / horizon - 1, m)  # (K, m + 1)
    phi = chebvander(2 * steps / horizon - 1, m)  # (S, m + 1)
    return phi @ np.linalg.solve(X.T @ X + lam * np.eye(m + 1), X.T)


def _linear(evaluated: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """a_lin(i): h_K + r (h_K - h_{K-1}), r = (i - e_K) / (e_K - e_{K-1}); a lone feature (K = 1) is held."""
    weights = np.zeros((len(steps), len(evaluated)))
    weights[:, -1] = 1.0
    if len(evaluated) > 1:
        ratio = (steps - evaluated[-1]) / (evaluated[-1] - evaluated[-2])
        weights[:, -1] += ratio
        weights[:, -2] -= ratio
    return weights


@dataclass(frozen=True)
class ChebyshevRule:
    """The rule of the paper; the fields are those of `forecast_weights`.

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
        if real_number("lam", self.lam, least=-math.inf) <= 0:  # without a penalty a small fit has no one solution
            raise SpectrumError(f"lam must be a number above 0, not {self.lam!r}.")
        whole_number("m", self.m, least=0)
        if self.horizon is not None:
            whole_number("horizon", self.horizon, least=1)

    def weights(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> np.ndarray:
        """Returns the weights of `forecast_weights`, float64 (K,)."""
        horizon = num_steps if self.horizon is None else self.horizon
        return forecast_weights(evaluated_before, step, w=self.w, lam=self.lam, m=self.m, horizon=horizon)

    def weights_of_steps(
        self, evaluated_before: Sequence[int], steps: Sequence[int] | np.ndarray, num_steps: int
    ) -> np.ndarray:
        """The same for S steps at once, float64 (S, K)."""
        horizon = num_steps if self.horizon is None else self.horizon
        return weights_of_steps(evaluated_before, steps, w=self.w, lam=self.lam, m=self.m, horizon=horizon)

    def describe(self) -> str:
        """Names the rule and its numbers."""
        return f"chebyshev w={float(self.w)!r} lam={float(self.lam)!r} m={self.m} horizon={self.horizon}"
