"""Chooses, of the schedules that a calibration cannot tell apart, the one that real samples are nearest with."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spectrum import CalibratedRule, Calibration, candidates

CANDIDATES = 5  # schedules that are compared

Compare = Callable[[CalibratedRule, int, int], list[float]]


def choose(
    rule: CalibratedRule, trajectories: Sequence[Calibration], steps: int, count: int, compare: Compare
) -> list[dict[str, Any]]:
    """Compare schedules on samples.

    Args:
        rule: finds schedules.
        trajectories: what its calibration is the mean of, one each.
        steps: denoising steps.
        count: evaluated steps.
        compare: makes samples by a rule that has one of the schedules, given with its number and that of all; returns
            the PSNR in dB of each to the same one with all steps.

    Returns:
        For each schedule its steps, how many halves of the samples found it, and its PSNR and score in dB, the best
        first. Of a single schedule nothing was measured.
    """
    found = candidates(rule, trajectories, steps, count)
    choice: list[dict[str, Any]] = [
        {"evaluated": [*map(int, evaluated)], "halves": halves, "of": sum(found.values())}
        for evaluated, halves in [*found.items()][:CANDIDATES]
    ]
    for number, one in enumerate(choice if len(choice) > 1 else []):
        values = compare(with_schedule(rule, steps, tuple(one["evaluated"])), number, len(choice))
        one |= {"compared": len(values), "psnr": summary(values), "score": score(values) if values else 0.0}
    return sorted(choice, key=lambda one: -one.get("score", 0.0))


def with_schedule(rule: CalibratedRule, steps: int, evaluated: tuple[int, ...]) -> CalibratedRule:
    """Return the rule with that schedule and no other."""
    return replace(rule, calibration=replace(rule.calibration, schedules={steps: {len(evaluated): evaluated}}))


def score(psnr: Sequence[float]) -> float:
    """Return what schedules are compared by: the mean of the lower half, since a few samples that go elsewhere count.

    Args:
        psnr: of the same samples for each schedule, dB.
    """
    return float(np.mean(sorted(psnr)[: (len(psnr) + 1) // 2]))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return mean and worst, and the mean's standard error where there are several."""
    if not values:
        return {}
    error = {"standard_error": float(np.std(values, ddof=1) / len(values) ** 0.5)} if len(values) > 1 else {}
    return {"mean": float(np.mean(values)), "worst": min(values), **error}
