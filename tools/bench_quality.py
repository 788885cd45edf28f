"""What forecasting costs in quality on the embedded model: ``python -m tools.bench_quality``.

Pictures made with forecasts are compared with those of all-steps sampling from the same noise, over the share w of the
Chebyshev forecast, two schedules, two step counts, and the time axis of the published code (horizon 50) beside ours
(the number of steps).
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import spectrum
from jobs import demo
from jobs.atomic import write_bytes, write_json
from jobs.models import Generator, load
from jobs.options import PROJECT
from jobs.plan import Plan
from jobs.prompts import read_prompts
from tools.bench_runner.machine import describe

BATCH = 16
STEPS, FLEX, SHARES = (50, 28), (0.75, 3.0), (0.0, 0.25, 0.5, 0.75, 1.0)
SETTINGS = {"height": 64, "width": 64, "num_frames": 1, "guidance_scale": 2.0, "negative_prompt": ""}


def pictures(generator: Generator, count: int, steps: int) -> np.ndarray:
    """The first ``count`` shipped prompts at ``steps`` steps: uint8 (count, height, width, 3)."""
    table = read_prompts(PROJECT / "prompts/shapes.txt", count)
    plan = Plan(table, {**SETTINGS, "num_inference_steps": steps}, 1, 1, BATCH, BATCH)
    return np.stack([image for shard in range(plan.num_shards) for image in generator(plan.batches(shard)[0])])


def psnr(made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each picture in dB, float64 (count,); at most 99, where nothing differs."""
    squares = (made.astype(np.float64) - reference) ** 2
    mean = squares.mean(axis=(1, 2, 3))
    return np.minimum(10 * np.log10(255**2 / np.maximum(mean, 1e-12)), 99.0)


def measure(count: int, steps: tuple[int, ...] = STEPS) -> list[dict[str, Any]]:
    """One row for each step count, schedule, horizon and w: evaluations, mean PSNR and its 95 % interval."""
    model = {
        "path": "embedded:image", "dtype": "float32", "vae_dtype": None, "vae_tiling": False, "scheduler": None,
        "scheduler_args": {}, "offload": "none", "compile": False, "fps": None, "guidance_argument": "true_cfg_scale", "negative_prompts": True, "call": {"max_sequence_length": 16},
    }  # fmt: skip
    generator = load(model, {"name": "nocache"}, demo.path("image"), device="cpu")
    rows = []
    for n in steps:
        reference = pictures(generator, count, n)
        for flex in FLEX:
            for horizon in sorted({n, 50}):
                for w in SHARES:
                    config = spectrum.SpectrumConfig(w=w, flex_window=flex, horizon=horizon)
                    with spectrum.attach(generator.pipeline, config) as handle:
                        decibels = psnr(pictures(generator, count, n), reference)
                        evaluations = len(handle.plan_for(n).evaluated)
                    half = 1.96 * decibels.std(ddof=1) / math.sqrt(count)
                    row = {"steps": n, "evaluations": evaluations, "horizon": horizon, "w": w}
                    rows.append({**row, "psnr": round(decibels.mean(), 2), "interval": round(half, 2)})
                    print(rows[-1], file=sys.stderr)
    return rows


def render(report: dict[str, Any]) -> str:
    """The rows as a markdown table, a column for each w."""
    machine, rows = report["machine"], report["rows"]
    lines = [
        "# What forecasting costs in quality",
        "",
        f"PSNR in dB against all-steps sampling from the same noise, mean over {report['prompts']} prompts with its "
        f"95 % interval; embedded model, guidance {SETTINGS['guidance_scale']}, warm-up 5, window 2, m 4, lam 0.1. "
        f"Made by `python -m tools.bench_quality` on {machine['cpu']}, {machine['cores']} cores, "
        f"torch {machine['libraries']['torch']}.",
        "",
        "| steps | evaluated | horizon | " + " | ".join(f"w = {w:g}" for w in SHARES) + " |",
        "| --- " * (3 + len(SHARES)) + "|",
    ]
    for start in range(0, len(rows), len(SHARES)):
        group = rows[start : start + len(SHARES)]
        cells = [f"{row['psnr']:.1f} ± {row['interval']:.1f}" for row in group]
        first = group[0]
        lines.append(f"| {first['steps']} | {first['evaluations']} | {first['horizon']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_quality", description=__doc__)
    parser.add_argument("--prompts", type=int, default=64, help="how many of prompts/shapes.txt; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    rows = measure(options.prompts)
    report = {"machine": describe(Path(tempfile.gettempdir())), "prompts": options.prompts, "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "quality.json", report)
    write_bytes(options.out / "quality.md", render(report).encode())
    print(options.out / "quality.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
