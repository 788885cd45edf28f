"""What a calibration alone says of schedules, to be held against the quality that is measured. Pure numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

import spectrum
from tools.benchmarks.quality import cases

RANDOM = 6  # schedules of each count

# C (n, n): expected products of relative errors; d (n,): how far the sampler moves at each step, 1 on average.
Cost = Callable[[np.ndarray, np.ndarray], Any]
CHOSEN = "sum of squared errors"
COSTS: dict[str, Cost] = {
    CHOSEN: lambda C, d: C.diagonal().sum(),
    "sum of errors": lambda C, d: np.sqrt(C.diagonal()).sum(),
    "square of the summed errors": lambda C, d: C.sum(),
    "sum of errors times the sampler's step": lambda C, d: d @ np.sqrt(C.diagonal()),
    "sum of squared errors times the sampler's step": lambda C, d: d**2 @ C.diagonal(),
    "square of the summed errors times the sampler's step": lambda C, d: d @ C @ d,
}


def schedules(rule: spectrum.CalibratedRule, steps: int, counts: tuple[int, ...]) -> dict[tuple[int, ...], str]:
    """Return evaluated steps and what kind of schedule they are: searched, as published, or random."""
    generator = np.random.default_rng(0)
    found = {}
    for count in counts:
        for _ in range(RANDOM):
            found[random_schedule(steps, count, generator)] = "random"
        found[cases.schedule(steps, count).evaluated_steps(steps)] = "published"
        found[rule.schedule(steps, count)] = "searched"
    return found


def random_schedule(steps: int, count: int, generator: np.random.Generator) -> tuple[int, ...]:
    """Draw step 0 and others, dense at the beginning or all over."""
    power = generator.uniform(1, 2.5)
    chosen = {0}
    while len(chosen) < count:
        chosen.add(int(steps * generator.uniform() ** power))
    return tuple(sorted(chosen))


def error_products(rule: spectrum.CalibratedRule, steps: int, evaluated: tuple[int, ...]) -> np.ndarray:
    """Return E <e_i, e_j> of the relative errors of all forecasts, (n, n); zero where a step is evaluated."""
    mixing = np.zeros((steps, steps))  # e_i = sum_j mixing_ij h_j
    for known, end in enumerate((*evaluated[1:], steps), start=1):
        gap = np.arange(evaluated[known - 1] + 1, end)
        mixing[gap, gap] = 1
        mixing[np.ix_(gap, np.array(evaluated[:known]))] -= rule.coefficients_of_steps(evaluated[:known], gap, steps)
    gram = rule.calibration.gram(steps)
    size = np.sqrt(gram.diagonal())
    return mixing @ gram @ mixing.T / np.outer(size, size)


def correlations(rows: list[dict[str, Any]], label: str) -> tuple[float, float]:
    """Return the rank correlation over all rows, and its mean over the evaluation counts."""
    groups = [[row for row in rows if len(row["evaluated"]) == count] for count in {len(r["evaluated"]) for r in rows}]
    each = [_correlation(group, label) for group in groups]
    return _correlation(rows, label), float(np.mean(each))


def _correlation(rows: list[dict[str, Any]], label: str) -> float:
    return rank_correlation([row["costs"][label] for row in rows], [row["psnr"] for row in rows])


def rank_correlation(one: list[float], two: list[float]) -> float:
    """Return Spearman's rank correlation; values that are alike share the mean of their ranks."""

    def ranks(values: list[float]) -> np.ndarray:
        below = np.greater.outer(values, values).sum(axis=1)
        return below + np.equal.outer(values, values).sum(axis=1) / 2

    return float(np.corrcoef(ranks(one), ranks(two))[0, 1])
