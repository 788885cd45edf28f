"""What forecasting costs in quality, on the embedded models: ``python -m tools.bench_quality``.

Samples made with each method are compared with those of all-steps sampling from the same noise. It works in pieces:
what has been measured before is not measured again, so the same command goes on where the last one was stopped.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.atomic import write_json
from jobs.errors import refuse
from tools.bench_quality import cases, metrics, report
from tools.bench_quality.calibrated import calibrated_cases
from tools.bench_quality.cases import Case, all_cases
from tools.bench_quality.sampling import BATCH, Subject, sample, subject
from tools.bench_runner.machine import describe


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, and write tables and curves."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_quality", description=__doc__)
    parser.add_argument("--models", default="demo,demo-video", help="default: %(default)s")
    parser.add_argument("--steps", default="50,28", help="of the references; default: %(default)s")
    parser.add_argument("--methods", help="only methods whose name contains this")
    parser.add_argument("--settings", help="only these settings, such as 10,14: numbers of evaluations")
    parser.add_argument("--prompts", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="seconds after which it stops")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    for name in options.models.split(","):
        if name not in BATCH:
            refuse(f"--models {name} cannot be measured here: choose among {', '.join(BATCH)}")
    for steps in options.steps.split(","):
        if steps not in map(str, cases.EVALUATIONS):
            refuse(f"--steps {steps} has no cases: choose among {', '.join(map(str, cases.EVALUATIONS))}")
    torch.set_num_threads(options.threads)
    deadline = time.monotonic() + options.time_limit
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "quality.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"models": {}}
    results["machine"] = describe(options.out)
    for name in options.models.split(","):
        rows = _rows(results, name, options.prompts)
        one: Subject | None = None
        for steps in map(int, options.steps.split(",")):
            every = [*calibrated_cases(name, steps), *all_cases(steps)]
            wanted = [case for case in every if case.key not in rows and (options.methods or "") in case.method]
            if options.settings:
                wanted = [case for case in wanted if case.setting in options.settings.split(",")]
            if wanted:
                one = one or subject(name, options.prompts)
                _measure(one, steps, wanted, rows, deadline, lambda: write_json(path, results))
    report.write(results, options.out)
    print(options.out / "quality.md")
    return 0


def _rows(results: dict[str, Any], name: str, prompts: int) -> dict[str, Any]:
    """A model's rows so far, by key; none of them if they are of other prompts."""
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
        made, evaluations = sample(one, case, case.taken)
        rows[case.key] = _row(one, case, evaluations, made, reference)
        save()
        print(f"{one.name} {case.key}: {rows[case.key]['psnr']} dB at {evaluations:g} evaluations", file=sys.stderr)


def _row(one: Subject, case: Case, evaluations: float, made: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    decibels, similarity = metrics.psnr(made, reference), metrics.ssim(made, reference)
    distance = metrics.latent_distance(one.generator.pipeline.vae, made, reference)
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
        "psnr_each": decibels.round(2).tolist(),
    }


if __name__ == "__main__":
    sys.exit(main())
