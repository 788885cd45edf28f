"""Measure what forecasting costs in quality, on the embedded models: ``python -m tools.benchmarks.quality``.

Samples made with each method are compared with those of all-steps sampling from the same noise: PSNR, SSIM, distance in
latents, and whether they show what was asked for. Methods are compared at equal numbers of evaluations.

It works in pieces: results are kept in ``quality.json``, and what is in it is not measured again, so the same command
goes on where the last one was stopped. ``quality.md`` shows them as tables and curves. Rows are compared prompt by
prompt, so those of one file must be of the same noise: start another, with ``--page``, when seeds have changed.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import torch

from jobs.store.atomic import write_json
from tools.benchmarks.common.command import new_parser, read_results, refuse_unknown
from tools.benchmarks.common.machine import describe
from tools.benchmarks.quality import cases, metrics, report
from tools.benchmarks.quality.calibrated import calibrated_cases
from tools.benchmarks.quality.cases import Case, all_cases
from tools.benchmarks.quality.published import NoSuchPlan, published_cases
from tools.benchmarks.quality.sampling import MODELS, Subject, sample, subject


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, and write tables and curves."""
    parser = _parser()
    options = parser.parse_args(arguments)
    models, steps = options.models.split(","), options.steps.split(",")
    refuse_unknown(parser, "model", models, MODELS)
    refuse_unknown(parser, "case with --steps", steps, [str(count) for count in cases.EVALUATIONS])
    path = options.out / f"{options.page}.json"
    if options.render:
        results = read_results(parser, path)
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        results = json.loads(path.read_text()) if path.exists() else {"models": {}}
        results["machine"] = describe(options.out)
        torch.set_num_threads(options.threads)
        _complete(results, models, [int(count) for count in steps], options, lambda: write_json(path, results))
    report.write(results, path)
    print(path.with_suffix(".md"))
    return 0


def _complete(
    results: dict[str, Any], models: list[str], steps: list[int], options: argparse.Namespace, save: Any
) -> None:
    """Measure the rows that are asked for and missing, until the time is up."""
    deadline = time.monotonic() + options.time_limit
    for name in models:
        rows = _rows(results, name, options.prompts)
        one: Subject | None = None
        for count in steps:
            every = [
                *calibrated_cases(name, count, options.out),
                *published_cases(name, count, options.out),
                *all_cases(count, MODELS[name].caches),
            ]
            wanted = [case for case in every if case.key not in rows]
            if options.methods:
                wanted = [case for case in wanted if any(part in case.method for part in options.methods.split(","))]
            if options.settings:
                wanted = [case for case in wanted if case.setting in options.settings.split(",")]
            if wanted:
                one = one or subject(name, options.prompts)
                _measure(one, count, wanted, rows, deadline, save)


def _rows(results: dict[str, Any], name: str, prompts: int) -> dict[str, Any]:
    """Return a model's rows so far, by key; none of them if they are of other prompts."""
    entry = results["models"].get(name)
    if entry is None or entry["prompts"] != prompts:
        entry = results["models"][name] = {"prompts": prompts, "rows": {}}
    return entry["rows"]


def _measure(one: Subject, steps: int, wanted: list[Case], rows: dict[str, Any], deadline: float, save: Any) -> None:
    reference, _ = sample(one, None, steps)
    rows[f"{steps} reference"] = {"accuracy": one.accuracy(reference), "steps": steps}
    for case in wanted:
        if time.monotonic() > deadline:
            print("the time is up; the same command goes on", file=sys.stderr)
            break
        try:
            made, evaluations = sample(one, case, case.taken)
        except NoSuchPlan as reason:
            print(f"{one.name} {case.key}: {reason}", file=sys.stderr)
            continue
        rows[case.key] = _row(one, case, evaluations, made, reference)
        save()
        print(f"{one.name} {case.key}: {rows[case.key]['psnr']} dB at {evaluations:g} evaluations", file=sys.stderr)


def _row(one: Subject, case: Case, evaluations: float, made: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    decibels, similarity = metrics.psnr(made, reference), metrics.ssim(made, reference)
    distance = metrics.latent_distance(one.pipeline.pipeline.vae, made, reference)
    return {
        "method": case.method,
        "setting": case.setting,
        "steps": case.steps,
        "evaluations": round(evaluations, 2),
        "psnr": round(decibels.mean(), 2),
        "psnr_interval": round(metrics.interval(decibels), 2),
        "ssim": round(similarity.mean(), 4),
        "latent_distance": round(distance.mean(), 4),
        "accuracy": round(one.accuracy(made), 4),
        "right_each": one.right(made),
        "psnr_each": decibels.round(2).tolist(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(report.COMMAND, __doc__)
    parser.add_argument("--models", default="demo,demo-video", help="default: %(default)s")
    parser.add_argument("--steps", default="50,28", help="of the references; default: %(default)s")
    parser.add_argument("--page", default="quality", help="stem of the results' names; default: %(default)s")
    parser.add_argument("--methods", help="only methods whose name contains one of these")
    parser.add_argument("--settings", help="only these settings, such as 10,14: numbers of evaluations")
    parser.add_argument("--prompts", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="seconds after which it stops")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
