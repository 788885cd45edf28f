"""Chooses, by real samples, the schedule of those that a calibration cannot tell apart, and how it is fitted there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spectrum import CalibratedRule, Calibration, Fit, candidates

CANDIDATES = 5  # schedules that are compared
FITS = (Fit(1e-4), Fit(1e-2), Fit(1e-1), Fit(1e-2, order=2))  # beside the usual one

# Makes samples by a rule that has one schedule, as one of several, such as (rule, "schedule", 1, 5); returns the PSNR
# in dB of each to the same one with all steps.
Compare = Callable[[CalibratedRule, str, int, int], list[float]]


def choose(
    rule: CalibratedRule, trajectories: Sequence[Calibration], steps: int, count: int, compare: Compare
) -> list[dict[str, Any]]:
    """Compare schedules on samples, and then, on the best of them, ways to fit the coefficients.

    Args:
        rule: finds schedules.
        trajectories: what its calibration is the mean of, one each.
        steps: denoising steps.
        count: evaluated steps.
        compare: as above; numbers count from 0.

    Returns:
        For each schedule, and then each fit, what is evaluated, how many halves of the samples found it, the numbers
        of the fit, and its PSNR and score in dB, the best first. Where all steps are evaluated nothing was measured.
    """
    found = candidates(rule, trajectories, steps, count)
    schedules: list[dict[str, Any]] = [
        {"evaluated": [*map(int, evaluated)], "halves": halves, "of": sum(found.values()), **Fit()._asdict()}
        for evaluated, halves in [*found.items()][:CANDIDATES]
    ]
    if count >= steps:
        return schedules
    _measure(schedules, "schedule", rule, steps, compare)
    best = max(schedules, key=_score)
    fits = [{name: best[name] for name in ("evaluated", "halves", "of")} | fit._asdict() for fit in FITS]
    _measure(fits, "fit", rule, steps, compare)
    return sorted([*schedules, *fits], key=_score, reverse=True)


def _measure(each: Sequence[dict[str, Any]], kind: str, rule: CalibratedRule, steps: int, compare: Compare) -> None:
    """Write down what each brings."""
    for number, one in enumerate(each):
        values = compare(with_choice(rule, steps, one), kind, number, len(each))
        one |= {"compared": len(values), "psnr": summary(values), "score": score(values) if values else 0.0}


def _score(one: Mapping[str, Any]) -> float:
    found: float = one["score"]
    return found


def with_choice(rule: CalibratedRule, steps: int, one: Mapping[str, Any]) -> CalibratedRule:
    """Return the rule with a schedule and a fit of ``choose``, and no other."""
    evaluated, fit = tuple(one["evaluated"]), Fit(one["shrinkage"], one["order"])
    count = len(evaluated)
    schedules, fits = {steps: {count: evaluated}}, {rule.target: {steps: {count: fit}}}
    return replace(rule, calibration=replace(rule.calibration, schedules=schedules, fits=fits))


def chosen(calibration: Calibration, target: str, best: Mapping[tuple[int, int], Mapping[str, Any]]) -> Calibration:
    """Return the calibration with what was chosen beside what it has.

    Args:
        calibration: what was recorded.
        target: what was forecast.
        best: (denoising steps, evaluated steps) -> the first of ``choose``.
    """
    schedules = {steps: dict(each) for steps, each in calibration.schedules.items()}
    fits = {steps: dict(each) for steps, each in calibration.fits.get(target, {}).items()}
    for (steps, count), one in best.items():
        schedules.setdefault(steps, {})[count] = tuple(one["evaluated"])
        fits.setdefault(steps, {})[count] = Fit(one["shrinkage"], one["order"])
    return replace(
        calibration, schedules=schedules, fits={**calibration.fits, target: fits} if fits else calibration.fits
    )


def score(psnr: Sequence[float]) -> float:
    """Return what is compared: the mean of the lower half, since a few samples that go elsewhere count.

    Args:
        psnr: of the same samples for each, dB.
    """
    return float(np.mean(sorted(psnr)[: (len(psnr) + 1) // 2]))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return mean and worst, and the mean's standard error where there are several."""
    if not values:
        return {}
    error = {"standard_error": float(np.std(values, ddof=1) / len(values) ** 0.5)} if len(values) > 1 else {}
    return {"mean": float(np.mean(values)), "worst": min(values), **error}
