"""Measure methods side by side on denoisers of real size: ``python -m tools.bench_speed --model flux``.

One table a model; results are kept in ``speed-DEVICE.json``, where a method that is measured again replaces its row,
and ``speed.md`` shows those of all machines. Plain is measured in every call, so that ratios are of one call.
"""

import argparse
import gc
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from jobs.atomic import write_bytes, write_json
from tools.bench_runner.machine import watched
from tools.bench_speed.catalog import MODELS
from tools.bench_speed.forecast import ROWS, forecast_ratio
from tools.bench_speed.measure import Conditions, measure
from tools.bench_speed.methods import KINDS, Method, expand
from tools.bench_speed.models import Scale
from tools.bench_speed.report import render
from tools.bench_speed.results import load, machine, path_of, put_forecast, put_rows

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
FORECAST_REPEATS = 7


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for and write file and page."""
    deadline = time.perf_counter()
    parser = _parser()
    options = parser.parse_args(arguments)
    models, methods, device, dtype = _checked(parser, options)
    deadline += options.time_limit
    options.out.mkdir(parents=True, exist_ok=True)
    if options.render:
        _render(options.out)
        return 0
    here = machine(device)
    path = path_of(options.out, here["device"])
    results = load(path, here)

    def save() -> None:
        write_json(path, results)
        _render(options.out)

    conditions = Conditions(options.scale, options.steps, options.repeats, device, dtype, deadline)
    for name in models:
        if time.perf_counter() > deadline:
            print(f"no time for {name}: give it a call of its own or a longer --time-limit", file=sys.stderr)
        elif options.forecast:
            _forecasts(name, options.scale, device, results)
            save()
        else:
            _table(name, methods, conditions, results, save)
    print(options.out / "speed.md")
    return 0


def _table(
    name: str, methods: list[Method], conditions: Conditions, results: dict[str, Any], save: Callable[[], None]
) -> None:
    model = MODELS[name]
    size = model.size(Scale(conditions.scale))
    with torch.device("meta"):
        parameters = sum(one.numel() for one in model.denoiser_class()(**size.config).parameters())
    head = {
        "model": name,
        "scale": conditions.scale,
        "steps": conditions.steps,
        "dtype": str(conditions.dtype).removeprefix("torch."),
        "parameters": parameters,
        "call": size.call,
        "feature": list(size.feature),
    }
    print(f"measuring: {name}, {parameters / 1e9:.3g} B parameters", file=sys.stderr)
    rows: dict[str, Any] = {}
    context: dict[str, Any] = {}
    with watched(context):
        for rows in measure(model, methods, conditions):
            put_rows(results, head, rows)
            save()
    for row in rows.values():
        row["cores_busy_elsewhere"] = context["cores_busy_elsewhere"]
    save()
    gc.collect()
    if conditions.device.type == "cuda":
        torch.cuda.empty_cache()


def _forecasts(name: str, scale: float, device: torch.device, results: dict[str, Any]) -> None:
    for dtype in DTYPES.values():
        for rows in ROWS:
            print(f"measuring: forecast from {rows} features of {name}, {dtype}", file=sys.stderr)
            row = forecast_ratio(MODELS[name], scale, rows, dtype, device, FORECAST_REPEATS)
            put_forecast(results, {"model": name, "scale": scale}, row)


def _render(folder: Path) -> None:
    machines = [json.loads(path.read_text()) for path in sorted(folder.glob("speed-*.json"))]
    write_bytes(folder / "speed.md", render(machines).encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_speed", description=__doc__)
    kinds = ",".join(kind for kind in KINDS if kind != "plain")
    parser.add_argument("--model", default=",".join(MODELS), help="some of %(default)s, which is the default")
    parser.add_argument(
        "--methods",
        default=kinds,
        help="some of plain,%(default)s; each but plain stands for two, with -0.75 or -3 for one; default: all",
    )
    parser.add_argument("--steps", type=int, default=50, help="denoising steps; default: %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks blocks, heads and tokens; default: 1, real")
    parser.add_argument("--repeats", type=int, default=3, help="turns, at most; default: %(default)s")
    parser.add_argument("--time-limit", type=float, default=math.inf, help="seconds for the whole call; default: none")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto; default: %(default)s")
    parser.add_argument("--dtype", help=f"{' or '.join(DTYPES)}; default: bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--forecast", action="store_true", help="measure the forecast alone, beside a copy")
    parser.add_argument("--render", action="store_true", help="measure nothing, only write the page")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="default: %(default)s")
    return parser


def _checked(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[list[str], list[Method], torch.device, torch.dtype]:
    """Models, methods, device and dtype of the options; ends the program with a sentence if one is wrong."""
    models = options.model.split(",")
    if unknown := [name for name in models if name not in MODELS]:
        parser.error(f"there is no model {unknown[0]!r}: choose among {', '.join(MODELS)}")
    try:
        methods = expand(options.methods.split(","))
    except ValueError as error:
        parser.error(f"there is no method {str(error)!r}: choose among {', '.join(KINDS)}, or KIND-0.75 and KIND-3")
    for name in ("steps", "repeats", "time_limit"):
        if not getattr(options, name) >= 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, not {getattr(options, name)}")
    if not 0 < options.scale <= 1:
        parser.error(f"--scale must be above 0 and at most 1, not {options.scale:g}")
    gpu = torch.cuda.is_available()
    if options.device not in ("auto", "cpu", "cuda"):
        parser.error(f"there is no device {options.device!r}: choose cpu, cuda or auto")
    if options.device == "cuda" and not gpu:
        parser.error("torch sees no CUDA device here: use --device cpu with a small --scale")
    device = torch.device("cuda:0" if gpu and options.device != "cpu" else "cpu")
    dtype = options.dtype or ("bf16" if device.type == "cuda" else "fp32")
    if dtype not in DTYPES:
        parser.error(f"there is no dtype {dtype!r}: choose {' or '.join(DTYPES)}")
    return models, methods, device, DTYPES[dtype]


if __name__ == "__main__":
    sys.exit(main())
