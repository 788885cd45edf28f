"""Schedules that a calibration cannot tell apart: what the halves of its trajectories find.

The search goes by expected errors, and its best schedules often differ by a few hundredths of a decibel of these and
by several in the quality of samples; which of them it finds depends on the prompts. Real samples can tell them apart.
The halves are balanced half-samples (McCarthy, "Pseudo-replication: half samples", 1969): every pair of trajectories
is together in about half of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from spectrum.calibration import CalibratedRule, Calibration

_SPLITS = 4  # of the trajectories, into two halves each


def candidates(
    rule: CalibratedRule, trajectories: Sequence[Calibration], num_steps: int, evaluations: int
) -> dict[tuple[int, ...], int]:
    """Return the schedules found by the halves of the trajectories that a rule's calibration is the mean of.

    Args:
        rule: Finds the first schedule.
        trajectories: One each, as `Recorder.trajectories` returns them.
        num_steps: n.
        evaluations: Evaluated steps.

    Returns:
        Each schedule with the number of halves that found it: the rule's own first, then the commoner ones first.

    Raises:
        SpectrumError: As `CalibratedRule.schedule`.
    """
    own = rule.schedule(num_steps, evaluations)
    having = [one for one in trajectories if num_steps in one.of(rule.target)]
    found = Counter(
        replace(rule, calibration=Calibration.mean(half, {})).schedule(num_steps, evaluations)
        for half in _halves(having)
    )
    return {own: found.pop(own, 0), **dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))}


def _halves(trajectories: Sequence[Calibration]) -> list[list[Calibration]]:
    """Return the halves of each split: by the parity of the bits that a place shares with the number of the split."""
    halves: list[list[Calibration]] = []
    for split in range(1, _SPLITS + 1):
        parity = [(place & split).bit_count() % 2 for place in range(len(trajectories))]
        if any(parity):
            halves += [[one for one, its in zip(trajectories, parity, strict=True) if its == side] for side in (0, 1)]
    return halves
