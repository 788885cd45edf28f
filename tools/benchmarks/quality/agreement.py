"""Measure how well expected errors foretell quality: ``python -m tools.benchmarks.quality.agreement``.

Calibrated weights on searched, published and random schedules, for sentences other than the benchmark's: what each cost
says of a schedule, from the calibration alone, against the PSNR that was measured. Results are kept in
``quality-agreement.json``; what is in it is not measured again.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectrum
from jobs.store.atomic import write_bytes, write_json
from tools.benchmarks.common.command import new_parser, read_results, refuse_unknown
from tools.benchmarks.common.table import table
from tools.benchmarks.quality import metrics
from tools.benchmarks.quality.calibrated import rule_of
from tools.benchmarks.quality.cases import Case, attached
from tools.benchmarks.quality.figures import draw_agreement
from tools.benchmarks.quality.foretold import CHOSEN, COSTS, correlations, error_products, schedules
from tools.benchmarks.quality.sampling import MODELS, Subject, others, sample, subject

COMMAND = "python -m tools.benchmarks.quality.agreement"
COUNTS = {50: (8, 10, 14), 28: (6, 8, 11)}  # evaluations, of how many steps
PROMPTS = 16
Results = dict[str, list[dict[str, Any]]]  # rows by model and number of steps


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, and write the figure and the table."""
    parser = new_parser(COMMAND, __doc__)
    parser.add_argument("--models", default="demo,demo-video", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    options = parser.parse_args(arguments)
    refuse_unknown(parser, "model", options.models.split(","), MODELS)
    path = options.out / "quality-agreement.json"
    results: Results
    if options.render:
        results = read_results(parser, path)
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        results = json.loads(path.read_text()) if path.exists() else {}
        _complete(results, options, path)
    write_bytes(path.with_suffix(".md"), page(results).encode())
    draw_agreement(results, path.with_suffix(".png"))
    print(path.with_suffix(".md"))
    return 0


def _complete(results: Results, options: argparse.Namespace, path: Path) -> None:
    """Measure the schedules whose rows are missing; rows of schedules that are no longer compared are dropped."""
    torch.set_num_threads(options.threads)
    for name in options.models.split(","):
        rule, one = rule_of(name, options.out), others(subject(name, 4 * MODELS[name].batch), PROMPTS)
        for steps, counts in COUNTS.items():
            wanted = schedules(rule, steps, counts)
            rows = [row for row in results.get(f"{name} {steps}", []) if tuple(row["evaluated"]) in wanted]
            results[f"{name} {steps}"] = rows
            missing = sorted(set(wanted) - {tuple(row["evaluated"]) for row in rows})
            for evaluated, row in measure(one, rule, steps, missing):
                rows.append({"evaluated": evaluated, "kind": wanted[evaluated], **row})
                write_json(path, results)
                print(name, steps, row["psnr"], wanted[evaluated], evaluated, file=sys.stderr)


def measure(
    one: Subject, rule: spectrum.CalibratedRule, steps: int, missing: list[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Yield each schedule with its mean PSNR and what every cost says of it."""
    if not missing:
        return
    reference, _ = sample(one, None, steps)
    moves = -np.diff(one.pipeline.pipeline.scheduler.sigmas.numpy())
    for evaluated in missing:
        switch = attached(spectrum.SpectrumConfig(), rule, lambda _, evaluated=evaluated: evaluated)
        made, _ = sample(one, Case("", "", steps, steps, switch), steps)
        products = error_products(rule, steps, evaluated)
        costs = {label: float(cost(products, moves / moves.mean())) for label, cost in COSTS.items()}
        yield evaluated, {"psnr": round(float(metrics.psnr(made, reference).mean()), 2), "costs": costs}


def page(results: Results) -> str:
    """Return the rank correlations of each cost with PSNR as Markdown: over all schedules / over those of one count."""
    lines = []
    for label in COSTS:
        cells = np.array([correlations(rows, label) for rows in results.values()])
        shown = [f"{everywhere:.2f} / {within:.2f}" for everywhere, within in [*cells, cells.mean(axis=0)]]
        lines.append((f"{label}{' (used)' if label == CHOSEN else ''}", *shown))
    parts = [
        "# Expected errors and measured quality",
        "Spearman rank correlation of a schedule's cost with its mean PSNR (-1: the cost tells the order), over all "
        f"schedules / over those of one evaluation count, mean over the counts. {PROMPTS} sentences that neither the "
        f"calibration nor the benchmark uses. Made by `{COMMAND}`.",
        "![cost against PSNR](quality-agreement.png)",
        table(("cost", *results, "mean"), lines),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
