"""What the audits of a run come to, in a few lines."""

from collections.abc import Sequence
from typing import Any

import numpy as np

SHOWN = 5  # samples that a warning names


def audit_lines(audits: Sequence[dict[str, Any]]) -> list[str]:
    """Return quantiles, and a warning where samples are below their floor.

    Args:
        audits: at least one; key, psnr (dB), ssim and floor of each.
    """
    decibels, likeness = (np.array([one[name] for one in audits]) for name in ("psnr", "ssim"))
    lines = [
        f"  audit    {len(audits):,} samples made with all steps as well: PSNR median {np.median(decibels):.1f} dB, "
        f"5th percentile {np.quantile(decibels, 0.05):.1f}, worst {decibels.min():.1f}; "
        f"SSIM median {np.median(likeness):.3f}, worst {likeness.min():.3f}"
    ]
    below = sorted((one for one in audits if one["psnr"] < one["floor"]), key=lambda one: float(one["psnr"]))
    if below:
        named = ", ".join(f"{one['key']} {one['psnr']:.1f}" for one in below[:SHOWN])
        more = f" and {len(below) - SHOWN:,} more" if len(below) > SHOWN else ""
        lines.append(
            f"  warning  {len(below):,} of them below audit_floor={below[0]['floor']:g} dB: {named}{more}: "
            "evaluate more steps (algo.evaluations, algo.quality)"
        )
    return lines
