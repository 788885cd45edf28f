"""Tables and curves from the measured rows."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jobs.store.atomic import write_bytes
from tools.benchmarks.common.table import table
from tools.benchmarks.quality.figures import Curves, draw_curves
from tools.benchmarks.quality.metrics import interval
from tools.benchmarks.quality.peers.catalog import PEERS
from tools.benchmarks.quality.published import MIXED, OUTPUTS
from tools.benchmarks.quality.tails import tails

OURS = ("searched", OUTPUTS)
COMMAND = "python -m tools.benchmarks.quality"
Row = dict[str, Any]


def write(results: dict[str, Any], path: Path) -> None:
    """Write the page of the results in ``path`` beside them, and a figure for each model and step count."""
    parts = [
        "# What forecasting costs in quality",
        "Distance to all-steps sampling from the same noise, mean over the prompts with its 95 % interval. Half of "
        "the sentences are of combinations that the models were never trained on; none was calibrated on. Warm-up 5, "
        "window 2, m 4, lam 0.1; `H=n` scales the time axis to the number of steps, `H=50` is as published; the "
        "window grows so that the evaluations come out. `calibrated` is the embedded models' own calibration on that "
        "schedule, `searched` the same with the schedule that it prefers, which is what these models do by default "
        "([how it was chosen](../calibration.md)); `searched, outputs` forecasts what the denoiser returns, on the "
        f"schedule of the features. `{MIXED}` has MeanCache's forecasts on that schedule. L2P, DPCache, MeanCache, "
        "Golden-Path, BudCache and the threshold method are [our re-implementations](#the-published-methods-as-they-"
        "are-here), `fewer steps` samples plainly in fewer steps, with the model's own sampler or another. Empty cells "
        "were not measured. "
        f"Made by `{COMMAND}` with torch {results['machine']['libraries']['torch']}.",
    ]
    for name, entry in results["models"].items():
        for steps in sorted({row["steps"] for row in entry["rows"].values()}, reverse=True):
            rows = [row for row in entry["rows"].values() if row["steps"] == steps and "method" in row]
            if rows:
                reference = entry["rows"][f"{steps} reference"]["accuracy"]
                figure = f"{path.stem}-{name}-{steps}.png"
                parts += [f"## {name}, {steps} steps, {entry['prompts']} prompts"]
                parts += [f"![PSNR over evaluations]({figure})", *_psnr(rows), _against_peers(rows), _verdict(rows)]
                parts += [_tails(rows)]
                parts += _details(rows, reference)
                draw_curves(name, steps, _curves(steps, rows), path.with_name(figure))
    parts += ["## The published methods, as they are here", _peers()]
    write_bytes(path.with_suffix(".md"), "\n\n".join(filter(None, parts)).encode() + b"\n")


def published(steps: int) -> str:
    """Return the method with the published code's defaults; its time axis is that of 50 steps."""
    return f"Chebyshev w=1 H={'n' if steps == 50 else 50}"


def best_parity(rows: list[Row], evaluations: float) -> Row | None:
    """Return the row of the published form, linear included, at its best w and horizon: of the highest mean PSNR."""
    parity = [row for row in rows if row["method"].startswith(("Chebyshev", "linear"))]
    return max((row for row in parity if row["evaluations"] == evaluations), key=lambda row: row["psnr"], default=None)


def best_other(rows: list[Row], evaluations: float) -> Row | None:
    """Return the row of the highest mean PSNR among published methods other than Spectrum, and fewer steps."""
    others = [row for row in rows if row["evaluations"] == evaluations and _is_peer(row["method"])]
    return max(others, key=lambda row: row["psnr"], default=None)


def _counts(rows: list[Row]) -> list[float]:
    return sorted({row["evaluations"] for row in rows if row["method"] in ("linear", "searched")})


def _at(rows: list[Row], method: str) -> dict[float, Row]:
    return {row["evaluations"]: row for row in rows if row["method"] == method}


def _methods(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _psnr(rows: list[Row]) -> list[str]:
    """Return the table of PSNR of the methods that take any evaluation count, then a list of the others' points."""
    counts = _counts(rows)
    lines, others = [], []
    for method in _methods(rows):
        points = _at(rows, method)
        if set(points) <= set(counts):
            cells = (points.get(count) for count in counts)
            shown = (f"{row['psnr']:.1f} ± {row['psnr_interval']:.1f}" if row else "" for row in cells)
            lines.append((method, *shown))
        else:
            listed = ", ".join(f"{row['psnr']:.1f} at {count:g}" for count, row in sorted(points.items()))
            others.append(f"- {method}, PSNR at evaluations counted: {listed}")
    return [table(("PSNR, dB", *(f"{count:g}" for count in counts)), lines), "\n".join(others)]


def _verdict(rows: list[Row]) -> str:
    """Say in how far the default beats the published form at its best for every single prompt."""
    if not any(best_parity(rows, count) for count in _counts(rows)):
        return ""
    worse = []
    for count, row in sorted(_at(rows, "searched").items()):
        best = best_parity(rows, count)
        if best and ((gain := _gain(row, best)) < -1).any():
            worse.append(
                f"{(gain < -1).sum()} of {len(gain)} at {count:g} evaluations (by {-gain.min():.1f} dB at most)"
            )
    return (
        "Prompts for which `searched` is more than 1 dB worse than the Chebyshev form at its best: "
        f"{'; '.join(worse) or 'none'}. [Why](../calibration.md#single-prompts-that-lose)."
    )


def _tails(rows: list[Row]) -> str:
    """Return the lower ends of ours and of the published form at its best; of the best of the others without it."""
    parity = any(best_parity(rows, count) for count in _counts(rows))
    best = partial(best_parity if parity else best_other, rows)
    return tails(rows, _counts(rows), OURS, best)


def _against_peers(rows: list[Row]) -> str:
    """Return the paired difference of ours to the published method, or number of steps, with the highest mean."""
    lines = []
    for count in _counts(rows):
        best = best_other(rows, count)
        for row in rows:
            if best and row["evaluations"] == count and row["method"] in OURS:
                gain = _gain(row, best)
                share = f"{100 * (gain > 0).mean():.0f} %"
                found = f"{best['method']}, {best['psnr']:.1f}"
                lines.append((f"{count:g}", found, row["method"], f"{gain.mean():+.1f} ± {interval(gain):.1f}", share))
    header = ("evaluations", "best of the others, dB", "ours", "gain, dB", "better for")
    return table(header, lines) if lines else ""


def _is_peer(method: str) -> bool:
    return method not in (*OURS, "calibrated", MIXED) and not method.startswith(("Chebyshev", "linear"))


def _peers() -> str:
    """Say how each peer works here, and what is left out."""
    return "\n".join(f"- **{name}** ({peer.source}): {peer.differs}" for name, peer in PEERS.items())


def _gain(row: Row, best: Row) -> np.ndarray:
    """Return the difference in PSNR for each prompt, dB."""
    return np.array(row["psnr_each"]) - np.array(best["psnr_each"])


def _details(rows: list[Row], reference: float) -> list[str]:
    """Return all measures, and the paired difference to the published form at its best."""
    parity = any(best_parity(rows, count) for count in _counts(rows))
    over = "Chebyshev form at its best w and horizon" if parity else "best of the others"
    text = (
        f"All measures; the task's accuracy of all-steps sampling is {100 * reference:.0f} %. Gain: PSNR over the "
        f"{over}, paired by prompt, and the worst prompt's."
    )
    lines = []
    for count in _counts(rows):
        best = best_parity(rows, count) if parity else best_other(rows, count)
        if best is None:
            continue
        default = published(rows[0]["steps"])
        kept = ("calibrated", "searched", "hold", "linear", "fewer", "TaylorSeer", "FirstBlock", default, MIXED, *PEERS)
        for row in rows:
            if row["evaluations"] == count and (row is best or row["method"].startswith(kept)):
                gain = _gain(row, best)
                difference = "best" if row is best else f"{gain.mean():+.1f} ± {interval(gain):.1f}"
                lines.append(
                    (
                        f"{count:g}",
                        row["method"],
                        f"{row['psnr']:.1f}",
                        f"{row['ssim']:.3f}",
                        f"{row['latent_distance']:.3f}",
                        f"{100 * row['accuracy']:.0f} %",
                        difference,
                        f"{gain.min():+.1f}",
                    )
                )
    header = ("evaluations", "method", "PSNR", "SSIM", "latent distance", "accuracy", "gain", "worst")
    return [text, table(header, lines)]


def _curves(steps: int, rows: list[Row]) -> Curves:
    """Return the points of each curve; of the Chebyshev form only as published, and at its best."""
    found: Curves = {}
    for method in _methods(rows):
        if not method.startswith("Chebyshev") or method == published(steps):
            label = f"{method} (as published)" if method == published(steps) else method
            found[label] = [_point(row) for _, row in sorted(_at(rows, method).items())]
    found["Chebyshev, best w and H"] = [_point(row) for count in _counts(rows) if (row := best_parity(rows, count))]
    return {label: points for label, points in found.items() if points}


def _point(row: Row) -> tuple[float, float, float]:
    return row["evaluations"], row["psnr"], row["psnr_interval"]
