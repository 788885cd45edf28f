"""What draws of calibrations come to: from the schedules that they find and the quality of each. Pure numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.execute.calibration_choice import CANDIDATES, score
from jobs.execute.calibration_quality import COMPARED
from tools.benchmarks.common.table import table

HEADER = ("prompts", "draws", "schedules", "mean", "5 %", "worst")
Schedule = tuple[int, ...]


@dataclass(frozen=True)
class Draw:
    """One draw of a calibration's prompts.

    Attributes:
        size: Prompts.
        number: Tells draws of a size apart.
        found: The schedules that its halves find, with the number of halves; its own is the first.
    """

    size: int
    number: int
    found: dict[Schedule, int]

    @property
    def own(self) -> Schedule:
        """The schedule that the search finds from all its prompts."""
        return next(iter(self.found))

    @property
    def candidates(self) -> list[Schedule]:
        """Those that a run compares."""
        return [*self.found][:CANDIDATES]


def places(size: int, number: int, pool: int) -> list[int]:
    """Return the prompts of a draw, of so many."""
    return sorted(np.random.default_rng([size, number]).permutation(pool)[:size].tolist())


def choose(draw: Draw, others: dict[Schedule, np.ndarray]) -> Schedule:
    """Return the candidate that a run would take by a dozen other prompts, which are drawn anew for each draw.

    Args:
        draw: The calibration.
        others: PSNR of each schedule on the same prompts, (n,) each.
    """
    count = len(next(iter(others.values())))
    dozen = np.random.default_rng([draw.size, draw.number, 1]).permutation(count)[:COMPARED]
    return max(draw.candidates, key=lambda schedule: score(others[schedule][dozen].tolist()))


def summary(quality: dict[Schedule, np.ndarray], others: dict[Schedule, np.ndarray], draws: Sequence[Draw]) -> str:
    """Return a table of how much the draws of each size differ, and those of candidates that were compared.

    Args:
        quality: PSNR of each schedule on the benchmark's prompts, (n,) each.
        others: The same on other prompts, which candidates are compared on.
        draws: All of one number of evaluations; those whose schedules were not measured are left out.
    """
    lines = []
    for size in sorted({draw.size for draw in draws}):
        of_size = [draw for draw in draws if draw.size == size]
        compared = of_size if any(len(draw.found) > 1 for draw in of_size) else []
        chosen = [draw for draw in compared if {*draw.candidates} <= quality.keys()]
        for label, schedules in (
            (f"{size}", [draw.own for draw in of_size if draw.own in quality]),
            (f"{size}, compared", [choose(draw, others) for draw in chosen]),
        ):
            lines += [_line(label, schedules, quality)] if schedules else []
    return table(HEADER, lines)


def _line(label: str, schedules: list[Schedule], quality: dict[Schedule, np.ndarray]) -> tuple[str, ...]:
    each = np.stack([quality[schedule] for schedule in schedules])  # (schedules, prompts)
    measured = (each.mean(axis=1), np.percentile(each, 5, axis=1), each.min(axis=1))
    cells = [f"{values.min():.1f} to {values.max():.1f}" for values in measured]
    return (label, f"{len(each)}", f"{len({*schedules})}", *cells)
