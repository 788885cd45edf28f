"""Tables and curves from the measured rows."""

from pathlib import Path
from typing import Any

import numpy as np

from jobs.atomic import write_bytes
from tools.bench_quality.metrics import interval

COMMAND = "python -m tools.bench_quality"
Row = dict[str, Any]


def write(results: dict[str, Any], out: Path) -> None:
    """``quality.md`` and a curve for each model and step count."""
    lines = [
        "# What forecasting costs in quality",
        "",
        "Distance to all-steps sampling from the same noise, mean over the prompts with its 95 % interval. Half of "
        "the sentences are of combinations that the models were never trained on; none was calibrated on. Warm-up 5, "
        "window 2, m 4, lam 0.1; `H=n` scales the time axis to the number of steps, `H=50` is as published; the "
        "window grows so that the evaluations come out. `calibrated` is the embedded models' own calibration on that "
        "schedule, `searched` the same with the schedule that it prefers, which is what these models do by default "
        "([how it was chosen](../calibration.md)). "
        f"Made by `{COMMAND}` with torch {results['machine']['libraries']['torch']}.",
        "",
    ]
    for name, entry in results["models"].items():
        for steps in sorted({row["steps"] for row in entry["rows"].values()}, reverse=True):
            rows = [row for row in entry["rows"].values() if row["steps"] == steps and "method" in row]
            if rows:
                reference = entry["rows"][f"{steps} reference"]["accuracy"]
                lines += [f"## {name}, {steps} steps, {entry['prompts']} prompts", ""]
                lines += [f"![PSNR over evaluations](quality-{name}-{steps}.png)", "", *_table(rows), ""]
                lines += [_verdict(rows), "", *_details(rows, reference), ""]
                _curve(name, steps, rows, out / f"quality-{name}-{steps}.png")
    write_bytes(out / "quality.md", "\n".join(lines).rstrip().encode() + b"\n")


def published(steps: int) -> str:
    """The method with the published code's defaults; its time axis is that of 50 steps."""
    return f"Chebyshev w=1 H={'n' if steps == 50 else 50}"


def best_parity(rows: list[Row], evaluations: float) -> Row | None:
    """The published form, with linear mixing, at its best w and horizon: the row with the highest mean PSNR."""
    parity = [row for row in rows if row["method"].startswith(("Chebyshev", "linear"))]
    return max((row for row in parity if row["evaluations"] == evaluations), key=lambda row: row["psnr"], default=None)


def _counts(rows: list[Row]) -> list[float]:
    return sorted({row["evaluations"] for row in rows if row["method"] == "linear"})


def _at(rows: list[Row], method: str) -> dict[float, Row]:
    return {row["evaluations"]: row for row in rows if row["method"] == method}


def _methods(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _table(rows: list[Row]) -> list[str]:
    """PSNR in dB of the methods that take any evaluation count, then the others' points."""
    counts = _counts(rows)
    lines = ["| PSNR, dB | " + " | ".join(f"{count:g}" for count in counts) + " |", "| --- " * (len(counts) + 1) + "|"]
    odd = []
    for method in _methods(rows):
        points = _at(rows, method)
        if set(points) <= set(counts):
            cells = (points.get(count) for count in counts)
            shown = (f"{row['psnr']:.1f} ± {row['psnr_interval']:.1f}" if row else "" for row in cells)
            lines.append(f"| {method} | {' | '.join(shown)} |")
        else:
            listed = ", ".join(f"{row['psnr']:.1f} at {count:g}" for count, row in sorted(points.items()))
            odd.append(f"- {method}, PSNR at evaluations counted: {listed}")
    return [*lines, "", *odd]


def _verdict(rows: list[Row]) -> str:
    """In how far the default beats the published form at its best for every single prompt."""
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


def _gain(row: Row, best: Row) -> np.ndarray:
    """The difference in PSNR for each prompt, dB."""
    return np.array(row["psnr_each"]) - np.array(best["psnr_each"])


def _details(rows: list[Row], reference: float) -> list[str]:
    """All measures, and the paired difference to the parity form at its best, at few evaluations."""
    lines = [
        f"All measures; the task's accuracy of all-steps sampling is {100 * reference:.0f} %. Gain: PSNR over the "
        "Chebyshev form at its best w and horizon, paired by prompt, and the worst prompt's.",
        "",
        "| evaluations | method | PSNR | SSIM | latent distance | accuracy | gain | worst |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for count in _counts(rows):
        best = best_parity(rows, count)
        assert best
        default = published(rows[0]["steps"])
        kept = ("calibrated", "searched", "hold", "linear", "fewer", "TaylorSeer", "FirstBlock", default)
        for row in rows:
            if row["evaluations"] == count and (row is best or row["method"].startswith(kept)):
                gain = _gain(row, best)
                difference = "best" if row is best else f"{gain.mean():+.1f} ± {interval(gain):.1f}"
                lines.append(
                    f"| {count:g} | {row['method']} | {row['psnr']:.1f} | {row['ssim']:.3f} | "
                    f"{row['latent_distance']:.3f} | {100 * row['accuracy']:.0f} % | {difference} | {gain.min():+.1f} |"
                )
    return lines


def _curve(name: str, steps: int, rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines: dict[str, list[tuple[float, float, float]]] = {}
    for method in _methods(rows):
        if not method.startswith("Chebyshev") or method == published(steps):
            shown = f"{method} (as published)" if method == published(steps) else method
            lines[shown] = [(e, row["psnr"], row["psnr_interval"]) for e, row in sorted(_at(rows, method).items())]
    best = [row for count in _counts(rows) if (row := best_parity(rows, count))]
    lines["Chebyshev, best w and H"] = [(row["evaluations"], row["psnr"], row["psnr_interval"]) for row in best]
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=110)
    for number, (label, points) in enumerate(lines.items()):
        x, y, error = zip(*points, strict=True)
        axes.errorbar(x, y, error, label=label, marker="osD^v<>pX*"[number % 10], capsize=2, markersize=4, linewidth=1)
    axes.set(xlabel=f"evaluations of {steps}", ylabel="PSNR to all-steps sampling, dB", title=f"{name}, {steps} steps")
    axes.set_xlim(4, 0.45 * steps if steps > 30 else 0.6 * steps)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
