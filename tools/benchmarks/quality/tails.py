"""The lower end of what was measured: 5th percentile, worst sample, and whether forked samples are as right."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tools.benchmarks.common.table import table

FORK = 10.0  # dB below the median of its row: a trajectory that a small error led elsewhere
Row = dict[str, Any]

HEADER = ("evaluations", "method", "mean, dB", "5 %, dB", "worst, dB", "forked", "right: forked", "right: others")


def tails(
    rows: list[Row], counts: Iterable[float], methods: tuple[str, ...], best: Callable[[float], Row | None]
) -> str:
    """Return a table of the lower ends of some methods' rows and of the best other row, and how they compare.

    Args:
        rows: All rows of one reference.
        counts: Numbers of evaluations.
        methods: Ours; the first is the one that is compared.
        best: The row to compare with at a number of evaluations; None where there is none.
    """
    lines, percentiles, worst = [], [], []
    for count in counts:
        ours = [row for method in methods for row in rows if (row["method"], row["evaluations"]) == (method, count)]
        other = best(count)
        lines += [_line(row) for row in [*ours, *([other] if other else [])]]
        if other and ours and ours[0]["method"] == methods[0]:
            percentiles.append(percentile(ours[0]) > percentile(other))
            worst.append(min(ours[0]["psnr_each"]) > min(other["psnr_each"]))
    said = (
        f"The lower end of PSNR: of {len(worst)} counts, `{methods[0]}` has the higher 5th percentile at "
        f"{sum(percentiles)} and the higher worst sample at {sum(worst)}. Forked: more than {FORK:g} dB below the "
        "row's median; right: so many show what was asked for."
    )
    return f"{table(HEADER, lines)}\n\n{said}" if worst else ""


def percentile(row: Row) -> float:
    """Return the 5th percentile of a row's PSNR, dB, between the two samples that are nearest."""
    return float(np.percentile(row["psnr_each"], 5))


def forked(row: Row) -> np.ndarray:
    """Return which samples of a row went elsewhere: bool (n,)."""
    each = np.asarray(row["psnr_each"])
    return each < np.median(each) - FORK


def _line(row: Row) -> tuple[str, ...]:
    gone = forked(row)
    values = (row["psnr"], percentile(row), min(row["psnr_each"]))
    right = ["", ""]
    if "right_each" in row:
        each = np.asarray(row["right_each"], dtype=bool)
        right = [f"{part.sum()} of {part.size}" if part.size else "" for part in (each[gone], each[~gone])]
    return (f"{row['evaluations']:g}", row["method"], *(f"{value:.1f}" for value in values), f"{gone.sum()}", *right)
