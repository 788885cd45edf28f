"""Schedules that a calibration cannot tell apart: those that end elsewhere, and what the halves of its prompts find.

The search goes by expected errors. Schedules whose expected errors differ by some tenths of a decibel often differ by
several in the quality of samples, and which of them is found depends on the prompts. Real samples can tell them apart.
The halves are balanced half-samples (McCarthy, "Pseudo-replication: half samples", 1969): every pair of trajectories
is together in about half of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from spectrum.calibrated_rule import CalibratedRule
from spectrum.calibration import Calibration

_SPLITS = 4  # of the trajectories, into two halves each
_NEAR = 1.0  # dB of expected error


def candidates(
    rule: CalibratedRule, trajectories: Sequence[Calibration], num_steps: int, evaluations: int
) -> dict[tuple[int, ...], int]:
    """Return the best schedules of each last evaluation that are as good as the best, and those that halves find.

    Args:
        rule: Finds the first schedule.
        trajectories: What its calibration is the mean of: one each, as `Recorder.trajectories` returns them.
        num_steps: n.
        evaluations: Evaluated steps.

    Returns:
        Each schedule with the number of halves that found it: the rule's own first, then those that end elsewhere by
        their expected errors, then others, the commoner ones first.

    Raises:
        SpectrumError: As `CalibratedRule.schedule`.
    """
    having = [one for one in trajectories if num_steps in one.of(rule.target)]
    found = Counter(
        replace(rule, calibration=Calibration.mean(half, {})).schedule(num_steps, evaluations)
        for half in _halves(having)
    )
    near = [rule.schedule(num_steps, evaluations), *rule.near(num_steps, evaluations, _NEAR)]
    others = sorted(found.keys() - {*near}, key=lambda schedule: (-found[schedule], schedule))
    return {schedule: found[schedule] for schedule in (*near, *others)}


def _halves(trajectories: Sequence[Calibration]) -> list[list[Calibration]]:
    """Return the halves of each split: by the parity of the bits that a place shares with the number of the split."""
    halves: list[list[Calibration]] = []
    for split in range(1, _SPLITS + 1):
        parity = [(place & split).bit_count() % 2 for place in range(len(trajectories))]
        if any(parity):
            halves += [[one for one, its in zip(trajectories, parity, strict=True) if its == side] for side in (0, 1)]
    return halves
