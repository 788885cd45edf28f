"""Measure methods side by side on denoisers of real size: ``python -m tools.benchmarks.speed --model flux``.

What is timed: whole calls of diffusers' own pipelines from embeddings to latents, plain and with Spectrum, TaylorSeer,
FirstBlockCache and cache-dit, all of which evaluate as many steps. The denoisers have the configs of public models and
random weights. Methods take turns, and speedups are medians of ratios within a turn.

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

from jobs.base.errors import BadInput
from jobs.model.kernels import check_attention
from jobs.store.atomic import write_bytes, write_json
from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.common.command import new_parser, refuse_below, refuse_unknown
from tools.benchmarks.common.denoisers import Scale
from tools.benchmarks.common.device import clocks, describe_device, free_bytes
from tools.benchmarks.common.machine import results_file
from tools.benchmarks.common.methods import KINDS, Method, expand
from tools.benchmarks.common.timing import watched
from tools.benchmarks.speed.forecast import ROWS, forecast_ratio
from tools.benchmarks.speed.measure import Conditions, measure
from tools.benchmarks.speed.operations import count_operations
from tools.benchmarks.speed.parts import time_parts
from tools.benchmarks.speed.report import COMMAND, render
from tools.benchmarks.speed.results import load, put_forecast, put_operations, put_parts, put_rows

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
FORECAST_REPEATS = 7


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for and write file and page."""
    deadline = time.perf_counter()
    parser = _parser()
    options = parser.parse_args(arguments)
    models, methods, device, dtype = _checked(parser, options)
    deadline += options.time_limit
    conditions = Conditions(
        *(options.scale, options.steps, options.repeats, device, dtype, deadline),
        *(options.batch, options.compile, options.attention),
    )
    if not (options.render or options.forecast or options.operations or options.parts):
        _refuse_too_large(parser, models, conditions)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.render:
        _measure(models, methods, conditions, options)
    _render(options.out)
    print(options.out / "speed.md")
    return 0


def _measure(models: list[str], methods: list[Method], conditions: Conditions, options: argparse.Namespace) -> None:
    here, out = describe_device(conditions.device), options.out
    path = results_file(out, "speed", here["device"])
    results = load(path, here)

    def save() -> None:
        write_json(path, results)
        _render(out)

    for name in models:
        if time.perf_counter() > conditions.deadline:
            print(f"no time for {name}: give it a call of its own or a longer --time-limit", file=sys.stderr)
        elif options.forecast:
            _forecasts(name, conditions, results)
            save()
        elif options.operations:
            print(f"counting: {name}", file=sys.stderr)
            counted = count_operations(MODELS[name], conditions.scale, conditions.dtype, ROWS[0])
            put_operations(results, {"model": name, "scale": conditions.scale}, counted)
            save()
        elif options.parts:
            print(f"measuring: text encoders and autoencoder of {name}", file=sys.stderr)
            scale, repeats = Scale(conditions.scale), conditions.repeats
            head = {"model": name, "scale": conditions.scale, "dtype": _name(conditions.dtype)}
            rows = time_parts(MODELS[name], scale, conditions.batch, conditions.device, conditions.dtype, repeats)
            put_parts(results, head | {"batch": conditions.batch}, rows)
            save()
        else:
            _table(name, methods, conditions, results, save)


def _table(
    name: str, methods: list[Method], conditions: Conditions, results: dict[str, Any], save: Callable[[], None]
) -> None:
    size, parameters = MODELS[name].size(Scale(conditions.scale)), _parameters(name, conditions.scale)
    head = {
        "model": name,
        "scale": conditions.scale,
        "steps": conditions.steps,
        "dtype": _name(conditions.dtype),
        "batch": conditions.batch,
        "compile": conditions.compile,
        "attention": conditions.attention,
        "parameters": parameters,
        "call": size.call,
        "feature": list(size.feature),
    }
    print(f"measuring: {name}, {parameters / 1e9:.3g} B parameters", file=sys.stderr)
    rows: dict[str, Any] = {}
    context: dict[str, Any] = {}
    with watched(context):
        for rows in measure(MODELS[name], methods, conditions):
            head["clocks"] = clocks(conditions.device)  # while it is still warm
            put_rows(results, head, rows)
            save()
    for row in rows.values():
        row["cores_busy_elsewhere"] = context["cores_busy_elsewhere"]
    save()
    gc.collect()
    if conditions.device.type == "cuda":
        torch.cuda.empty_cache()


def _refuse_too_large(parser: argparse.ArgumentParser, models: list[str], conditions: Conditions) -> None:
    """End the program before anything is measured if a model has more weights than there is memory for."""
    free = free_bytes(conditions.device)
    for name in models:
        needed = _parameters(name, conditions.scale) * conditions.dtype.itemsize
        if needed > free:
            parser.error(
                f"the weights of {name} take {needed / 1e9:.1f} GB in {_name(conditions.dtype)} at --scale "
                f"{conditions.scale:g}, and {free / 1e9:.1f} GB are free here: use a smaller --scale"
            )


def _parameters(name: str, scale: float) -> int:
    model = MODELS[name]
    with torch.device("meta"):
        denoiser = model.denoiser_class()(**model.size(Scale(scale)).config)
    return sum(one.numel() for one in denoiser.parameters())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _forecasts(name: str, conditions: Conditions, results: dict[str, Any]) -> None:
    for dtype in DTYPES.values():
        for rows in ROWS:
            print(f"measuring: forecast from {rows} features of {name}, {dtype}", file=sys.stderr)
            row = forecast_ratio(MODELS[name], conditions.scale, rows, dtype, conditions.device, FORECAST_REPEATS)
            put_forecast(results, {"model": name, "scale": conditions.scale}, row)


def _render(folder: Path) -> None:
    machines = [json.loads(path.read_text()) for path in sorted(folder.glob("speed-*.json"))]
    write_bytes(folder / "speed.md", render(machines).encode())


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(COMMAND, __doc__)
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
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--dtype", choices=DTYPES, help="default: bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--batch", type=int, default=1, help="samples a call; default: %(default)s")
    modes = ("none", "blocks", "whole", "max-autotune")
    parser.add_argument("--compile", choices=modes, default="none", help="as model.compile; default: %(default)s")
    parser.add_argument("--attention", help="a backend of diffusers, as model.attention; default: its own choice")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--forecast", action="store_true", help="measure the forecast alone, beside a copy")
    only.add_argument("--operations", action="store_true", help="count operations and histories, which needs no device")
    only.add_argument("--parts", action="store_true", help="measure text encoders and autoencoder, and nothing else")
    return parser


def _checked(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[list[str], list[Method], torch.device, torch.dtype]:
    """Return models, methods, device and dtype of the options, or end the program with a sentence if one is wrong."""
    models = options.model.split(",")
    refuse_unknown(parser, "model", models, MODELS)
    try:
        methods = expand(options.methods.split(","))
    except ValueError as error:
        parser.error(f"there is no method {str(error)!r}: choose among {', '.join(KINDS)}, or KIND-0.75 and KIND-3")
    refuse_below(parser, options, 1, "steps", "repeats", "time_limit", "batch")
    if not 0 < options.scale <= 1:
        parser.error(f"--scale must be above 0 and at most 1, not {options.scale:g}")
    gpu = torch.cuda.is_available()
    if options.device == "cuda" and not gpu:
        parser.error("torch sees no CUDA device here: use --device cpu with a small --scale")
    device = torch.device("cuda:0" if gpu and options.device != "cpu" else "cpu")
    whole = options.compile in ("whole", "max-autotune")
    if whole and (skipping := [one.name for one in methods if one.kind not in ("plain", "spectrum-output")]):
        parser.error(
            f"--compile {options.compile} leaves no block to skip for {skipping[0]}: add --methods spectrum-output"
        )
    if options.attention:
        try:
            check_attention(options.attention, [MODELS[name].denoiser for name in models])
        except BadInput as error:
            parser.error(str(error).replace("model.attention=", "--attention "))
    return models, methods, device, DTYPES[options.dtype or ("bf16" if device.type == "cuda" else "fp32")]


if __name__ == "__main__":
    sys.exit(main())
