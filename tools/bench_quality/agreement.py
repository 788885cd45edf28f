"""How well expected errors foretell quality: ``python -m tools.bench_quality.agreement``.

Calibrated weights on searched, published and random schedules, for sentences other than the benchmark's: what each cost
says of a schedule, from the calibration alone, against the PSNR that was measured. What has been measured before is
not measured again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import spectrum
from jobs.atomic import write_bytes, write_json
from tools.bench_quality import cases, metrics
from tools.bench_quality.calibrated import rule_of
from tools.bench_quality.cases import Case, attached
from tools.bench_quality.sampling import BATCH, Subject, others, sample, subject

COUNTS = {50: (8, 10, 14), 28: (6, 8, 11)}  # evaluations, of how many steps
RANDOM = 6  # schedules of each count
PROMPTS = 16

# C (n, n): expected products of relative errors; d (n,): how far the sampler moves at each step, 1 on average.
Cost = Callable[[np.ndarray, np.ndarray], Any]
CHOSEN = "sum of squared errors"
COSTS: dict[str, Cost] = {
    CHOSEN: lambda C, d: C.diagonal().sum(),
    "sum of errors": lambda C, d: np.sqrt(C.diagonal()).sum(),
    "square of the summed errors": lambda C, d: C.sum(),
    "sum of errors times the sampler's step": lambda C, d: d @ np.sqrt(C.diagonal()),
    "sum of squared errors times the sampler's step": lambda C, d: d**2 @ C.diagonal(),
    "square of the summed errors times the sampler's step": lambda C, d: d @ C @ d,
}


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, and write the figure and the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_quality.agreement", description=__doc__)
    parser.add_argument("--models", default="demo,demo-video", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    path = options.out / "quality-agreement.json"
    results: dict[str, list[dict[str, Any]]] = json.loads(path.read_text()) if path.exists() else {}
    for name in options.models.split(","):
        rule, one = rule_of(name), others(subject(name, 4 * BATCH[name]), PROMPTS)
        for steps, counts in COUNTS.items():
            wanted = schedules(rule, steps, counts)
            rows = [row for row in results.get(f"{name} {steps}", []) if tuple(row["evaluated"]) in wanted]
            results[f"{name} {steps}"] = rows
            missing = sorted(set(wanted) - {tuple(row["evaluated"]) for row in rows})
            for evaluated, row in measure(one, rule, steps, missing):
                rows.append({"evaluated": evaluated, "kind": wanted[evaluated], **row})
                write_json(path, results)
                print(name, steps, row["psnr"], wanted[evaluated], evaluated, file=sys.stderr)
    write_bytes(options.out / "quality-agreement.md", ("\n".join(table(results)) + "\n").encode())
    figure(results, options.out / "quality-agreement.png")
    print(options.out / "quality-agreement.md")
    return 0


def measure(
    one: Subject, rule: spectrum.CalibratedRule, steps: int, missing: list[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Each schedule with its mean PSNR and what every cost says of it."""
    if not missing:
        return
    reference, _ = sample(one, None, steps)
    moves = -np.diff(one.generator.pipeline.scheduler.sigmas.numpy())
    for evaluated in missing:
        switch = attached(spectrum.SpectrumConfig(), rule, lambda _, evaluated=evaluated: evaluated)
        made, _ = sample(one, Case("", "", steps, steps, switch), steps)
        products = error_products(rule, steps, evaluated)
        costs = {label: float(cost(products, moves / moves.mean())) for label, cost in COSTS.items()}
        yield evaluated, {"psnr": round(float(metrics.psnr(made, reference).mean()), 2), "costs": costs}


def schedules(rule: spectrum.CalibratedRule, steps: int, counts: tuple[int, ...]) -> dict[tuple[int, ...], str]:
    """Evaluated steps and what kind of schedule they are: searched, as published, or random."""
    generator = np.random.default_rng(0)
    found = {}
    for count in counts:
        for _ in range(RANDOM):
            found[random_schedule(steps, count, generator)] = "random"
        found[cases.schedule(steps, count).evaluated_steps(steps)] = "published"
        found[rule.schedule(steps, count)] = "searched"
    return found


def random_schedule(steps: int, count: int, generator: np.random.Generator) -> tuple[int, ...]:
    """Step 0 and others, dense at the beginning or all over."""
    power = generator.uniform(1, 2.5)
    chosen = {0}
    while len(chosen) < count:
        chosen.add(int(steps * generator.uniform() ** power))
    return tuple(sorted(chosen))


def error_products(rule: spectrum.CalibratedRule, steps: int, evaluated: tuple[int, ...]) -> np.ndarray:
    """E <e_i, e_j> of the relative errors of all forecasts, (n, n); nought where a step is evaluated."""
    mixing = np.zeros((steps, steps))  # e_i = sum_j mixing_ij h_j
    for known, end in enumerate((*evaluated[1:], steps), start=1):
        gap = np.arange(evaluated[known - 1] + 1, end)
        mixing[gap, gap] = 1
        mixing[np.ix_(gap, np.array(evaluated[:known]))] -= rule.weights_of_steps(evaluated[:known], gap, steps)
    gram = rule.calibration.gram(steps)
    size = np.sqrt(gram.diagonal())
    return mixing @ gram @ mixing.T / np.outer(size, size)


def table(results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Rank correlations of each cost with PSNR: of all schedules, and the mean over those of one count."""
    lines = [
        "# Expected errors and measured quality",
        "",
        "Spearman rank correlation of a schedule's cost with its mean PSNR (-1: the cost tells the order), over all "
        f"schedules / over those of one evaluation count, mean over the counts. {PROMPTS} sentences that neither the "
        "calibration nor the benchmark uses. Made by `python -m tools.bench_quality.agreement`.",
        "",
        "![cost against PSNR](quality-agreement.png)",
        "",
        f"| cost | {' | '.join(results)} | mean |",
        "| --- " * (len(results) + 2) + "|",
    ]
    for label in COSTS:
        cells = np.array([correlations(rows, label) for rows in results.values()])
        shown = [f"{everywhere:.2f} / {within:.2f}" for everywhere, within in [*cells, cells.mean(axis=0)]]
        lines.append(f"| {label}{' (used)' if label == CHOSEN else ''} | {' | '.join(shown)} |")
    return lines


def correlations(rows: list[dict[str, Any]], label: str) -> tuple[float, float]:
    """Of all rows, and the mean over rows of one evaluation count."""
    groups = [[row for row in rows if len(row["evaluated"]) == count] for count in {len(r["evaluated"]) for r in rows}]
    each = [_correlation(group, label) for group in groups]
    return _correlation(rows, label), float(np.mean(each))


def _correlation(rows: list[dict[str, Any]], label: str) -> float:
    return float(spearmanr([row["costs"][label] for row in rows], [row["psnr"] for row in rows]).statistic)


def figure(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Cost against PSNR of every schedule."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, all_axes = pyplot.subplots(1, len(results), figsize=(4 * len(results), 4), dpi=110, squeeze=False)
    for axes, (name, rows) in zip(all_axes[0], results.items(), strict=True):
        for number, count in enumerate(sorted({len(row["evaluated"]) for row in rows})):
            for kind, marker in (("random", "."), ("published", "s"), ("searched", "*")):
                points = [row for row in rows if len(row["evaluated"]) == count and row["kind"] == kind]
                x, y = [row["costs"][CHOSEN] for row in points], [row["psnr"] for row in points]
                axes.scatter(x, y, marker=marker, color=f"C{number}", label=f"{count} evaluations, {kind}", s=40)
        axes.set(xscale="log", xlabel=CHOSEN, ylabel="PSNR to all-steps sampling, dB", title=f"{name} steps")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)
    drawing.tight_layout()
    drawing.savefig(path)
    pyplot.close(drawing)


if __name__ == "__main__":
    sys.exit(main())
