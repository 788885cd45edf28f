"""The figures: PSNR over evaluations, and expected cost against PSNR."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.benchmarks.quality.foretold import CHOSEN

# Label in the legend -> (evaluations, PSNR, half the width of its 95 % interval) of each point.
Curves = dict[str, list[tuple[float, float, float]]]


def draw_curves(name: str, steps: int, curves: Curves, path: Path) -> None:
    """Draw PSNR over evaluations of each method, as PNG."""
    with _axes(path, 1, (8, 5)) as (axes,):
        for number, (label, points) in enumerate(curves.items()):
            x, y, error = zip(*points, strict=True)
            marker = "osD^v<>pX*"[number % 10]
            axes.errorbar(x, y, error, label=label, marker=marker, capsize=2, markersize=4, linewidth=1)
        title = f"{name}, {steps} steps"
        axes.set(xlabel=f"evaluations of {steps}", ylabel="PSNR to all-steps sampling, dB", title=title)
        axes.set_xlim(4, 0.45 * steps if steps > 30 else 0.6 * steps)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, ncols=2)


def draw_agreement(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the expected cost of every schedule against its PSNR, as PNG; one plot for each model and step count."""
    with _axes(path, len(results), (4 * len(results), 4)) as all_axes:
        for axes, (name, rows) in zip(all_axes, results.items(), strict=True):
            for number, count in enumerate(sorted({len(row["evaluated"]) for row in rows})):
                for kind, marker in (("random", "."), ("published", "s"), ("searched", "*")):
                    points = [row for row in rows if len(row["evaluated"]) == count and row["kind"] == kind]
                    x, y = [row["costs"][CHOSEN] for row in points], [row["psnr"] for row in points]
                    axes.scatter(x, y, marker=marker, color=f"C{number}", label=f"{count} evaluations, {kind}", s=40)
            axes.set(xscale="log", xlabel=CHOSEN, ylabel="PSNR to all-steps sampling, dB", title=f"{name} steps")
            axes.grid(alpha=0.3)
            axes.legend(fontsize=6)


@contextmanager
def _axes(path: Path, count: int, size: tuple[float, float]) -> Iterator[list[Any]]:
    """Open a figure of so many plots side by side, ``size`` in inches, and write it at the end."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, count, figsize=size, dpi=110, squeeze=False)
    try:
        yield list(axes[0])
        figure.tight_layout()
        figure.savefig(path)
    finally:
        pyplot.close(figure)
