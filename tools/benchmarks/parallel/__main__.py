"""Measure and model what sharing a clip among ranks costs: ``python -m tools.benchmarks.parallel [measure] [clips]``.

``measure`` runs shrunk Wan and HunyuanVideo pipelines on 1, 2 and 4 ranks of this machine (nccl where there are as many
GPUs, else gloo on the CPU) and keeps the times in ``parallel-DEVICE.json``; ``clips`` counts what a step is at 720p for
each choice of degrees, which needs no such machine, and keeps that in ``parallel-clips.json``. ``parallel.md`` shows
both beside what the cost model says, under assumptions that are options.
"""

import argparse
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from jobs.options.degrees import Degrees
from jobs.store.atomic import write_bytes, write_json
from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.common.command import new_parser, refuse_below, refuse_unknown
from tools.benchmarks.common.device import describe_device
from tools.benchmarks.common.machine import results_file
from tools.benchmarks.common.timing import watched
from tools.benchmarks.parallel.cases import CASES, Conditions, size_of
from tools.benchmarks.parallel.clips import count_clips
from tools.benchmarks.parallel.count import count_step
from tools.benchmarks.parallel.measure import RanksFailed, measure
from tools.benchmarks.parallel.predict import Assumptions
from tools.benchmarks.parallel.report import COMMAND, render

SECTIONS = ("measure", "clips")
LEAST_STEPS = 7  # for steps of both kinds
CLIPS = "parallel-clips.json"
HELP = {
    "tflops": "sustained TFLOP/s of a GPU in an evaluated step",
    "memory": "GB/s of a GPU's memory",
    "launch": "microseconds to launch an operation",
    "link": "GB/s that a GPU sends within its node",
    "network": "GB/s that a GPU sends to other nodes",
    "latency": "microseconds of a collective",
    "node": "GPUs in a node",
}


def main(arguments: list[str] | None = None) -> int:
    """Measure and count what was asked for and write files and page."""
    parser = _parser()
    options = parser.parse_args(arguments)
    conditions = _conditions(parser, options)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.render:
        sections = options.sections or SECTIONS
        if "measure" in sections:
            try:
                _measure(conditions, options.degrees, options.out)
            except RanksFailed as error:
                parser.exit(1, f"{error}\n")
        if "clips" in sections:
            write_json(options.out / CLIPS, {"clips": count_clips()})
    assumed = Assumptions(**{name: getattr(options, name) for name in HELP})
    page = options.out / "parallel.md"
    write_bytes(page, _page(options.out, assumed).encode())
    print(page)
    return 0


def _measure(conditions: Conditions, worlds: list[int], out: Path) -> None:
    here = describe_device(torch.device(conditions.device))
    path = results_file(out, "parallel", here["device"])
    results: dict[str, Any] = {
        "machine": here,
        "conditions": {**asdict(conditions), "dtype": str(conditions.dtype).removeprefix("torch.")},
        "worlds": {},
    }
    for world in worlds:
        print(f"measuring: {world} ranks", file=sys.stderr)
        context: dict[str, Any] = {}
        with watched(context):
            found = measure(world, conditions)
        for run in found["runs"]:
            size, degrees = size_of(run["model"], conditions.scale), Degrees(**run["degrees"])
            run["counted"] = {
                kind: asdict(count_step(MODELS[run["model"]], size, degrees, conditions.dtype, rows))
                for kind, rows in (("evaluated", None), ("forecast", run["rows"]))
            }
        results["worlds"][str(world)] = found | context
        write_json(path, results)


def _page(folder: Path, assumed: Assumptions) -> str:
    machines = [json.loads(path.read_text()) for path in sorted(folder.glob("parallel-*.json")) if path.name != CLIPS]
    clips = folder / CLIPS
    return render(machines, json.loads(clips.read_text())["clips"] if clips.exists() else [], assumed)


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(COMMAND, __doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; default: both")
    parser.add_argument("--scale", type=float, help="shrinks the models that are measured; default: 0.02, on GPUs 1")
    parser.add_argument("--steps", type=int, default=12, help="of a run; default: %(default)s")
    parser.add_argument("--degrees", default="1,2,4", help="numbers of ranks, 1 among them; default: %(default)s")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--time-limit", type=float, default=180, help="seconds for each number; default: %(default)s")
    assumed = parser.add_argument_group("what the model of clips assumes")
    for one in fields(Assumptions):
        kind = int if one.name == "node" else float
        assumed.add_argument(f"--{one.name}", type=kind, default=one.default, help=f"{HELP[one.name]}; %(default)s")
    return parser


def _conditions(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Conditions:
    """Return the options of the measurement, or end the program with a sentence if one is wrong."""
    refuse_unknown(parser, "section", options.sections, SECTIONS)
    known = [str(world) for world in CASES]
    if set(options.degrees.split(",")) - set(known) or "1" not in options.degrees.split(","):
        parser.error(f"--degrees must be 1 and others of {', '.join(known)}, not {options.degrees}")
    options.degrees = sorted({int(world) for world in options.degrees.split(",")})
    gpus = torch.cuda.device_count()
    if options.device == "cuda" and gpus < options.degrees[-1]:
        parser.error(f"{options.degrees[-1]} ranks need as many GPUs and there are {gpus}: use --device cpu")
    device = "cuda" if options.device != "cpu" and gpus >= options.degrees[-1] else "cpu"
    scale = options.scale or (1.0 if device == "cuda" else 0.02)
    if not 0 < scale <= 1:
        parser.error(f"--scale must be above 0 and at most 1, not {scale:g}")
    refuse_below(parser, options, LEAST_STEPS, "steps")
    for name in (*HELP, "time_limit"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {getattr(options, name):g}")
    return Conditions(scale, options.steps, device, options.time_limit)


if __name__ == "__main__":
    sys.exit(main())
