"""Measure how far a calibration can be trusted: ``python -m tools.benchmarks.quality.draws``.

Calibrations are drawn from all-steps trajectories of 128 sentences that are not the benchmark's; each finds a schedule,
and so does each half of its prompts. The benchmark's sentences are forecast on every schedule that is found, with the
coefficients of all sentences of the pool, so that what differs is the schedule. Trajectories are made once and kept in
``--recorded``, results in ``quality-draws.json``: the same command goes on where the last one was stopped.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectrum
from jobs.execute.calibration_choice import CANDIDATES
from jobs.execute.calibration_quality import COMPARED
from jobs.model.forecast import Automatic
from jobs.store.atomic import write_bytes, write_json
from tools.benchmarks.common.command import new_parser, read_results, refuse_unknown
from tools.benchmarks.quality import metrics
from tools.benchmarks.quality.cases import attached
from tools.benchmarks.quality.drawn import Draw, Schedule, places, summary
from tools.benchmarks.quality.sampling import MODELS, Subject, layout_of, make_batch, subject
from tools.benchmarks.quality.trajectories import POOL, Trajectories, pool, trajectories

COMMAND = "python -m tools.benchmarks.quality.draws"
PROMPTS = 64  # of the benchmark
OTHERS = 24  # of the pool, which schedules are compared on
HALVED = Automatic.samples  # prompts of the draws whose halves are searched too: as many as a run has
Entry = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, and write the page."""
    parser = _parser()
    options = parser.parse_args(arguments)
    refuse_unknown(parser, "model", options.models.split(","), MODELS)
    path = options.out / "quality-draws.json"
    if options.render:
        results = read_results(parser, path)
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        results = json.loads(path.read_text()) if path.exists() else {}
        torch.set_num_threads(options.threads)
        deadline = time.monotonic() + options.time_limit
        for name in options.models.split(","):
            for steps in _numbers(options.steps):
                entry = results.setdefault(f"{name} {steps}", {"pool": options.pool, "draws": {}, "schedules": {}})
                _complete(entry, name, steps, options, deadline, lambda: write_json(path, results))
    write_bytes(path.with_suffix(".md"), page(results).encode())
    print(path.with_suffix(".md"))
    return 0


def _complete(entry: Entry, name: str, steps: int, options: argparse.Namespace, deadline: float, save: Any) -> None:
    """Record, draw, and measure the schedules that were not measured yet, until the time is up."""
    one, folder = subject(name, PROMPTS), options.recorded / f"{name}-{steps}"
    subjects = {"quality": one, "others": pool(one, OTHERS)}
    recorded = trajectories(pool(one, entry["pool"]), steps, folder / "pool")
    references = {"quality": trajectories(one, steps, folder / "benchmark"), "others": recorded}
    for count in _numbers(options.counts):
        if str(count) not in entry["draws"]:
            entry["draws"][str(count)] = [
                [draw.size, draw.number, [*draw.found.items()]]
                for draw in draws(recorded, steps, count, _numbers(options.sizes), options.draws)
            ]
    save()
    rule = spectrum.CalibratedRule(spectrum.Calibration.mean(recorded.calibrations, {}))
    for schedule in _wanted(entry, _numbers(options.counts)):
        if time.monotonic() > deadline:
            print("the time is up; the same command goes on", file=sys.stderr)
            return
        row = entry["schedules"].setdefault(_key(schedule), {})
        for kind in [kind for kind in subjects if kind not in row]:
            row[kind] = _measure(subjects[kind], references[kind], rule, steps, schedule)
            save()
            print(f"{name} {steps} {schedule}: {np.mean(row[kind]):.1f} dB, {kind}", file=sys.stderr)


def draws(recorded: Trajectories, steps: int, count: int, sizes: Iterable[int], most: int) -> list[Draw]:
    """Draw calibrations of each size, one where it takes all, and search with each."""
    everything = len(recorded.calibrations)
    found = []
    for size in sizes:
        for number in range(most if size < everything else 1):
            some = [recorded.calibrations[place] for place in places(size, number, everything)]
            rule = spectrum.CalibratedRule(spectrum.Calibration.mean(some, {}))
            halved = some if size == HALVED else []
            found.append(Draw(len(some), number, spectrum.candidates(rule, halved, steps, count)))
    return found


def _wanted(entry: Entry, counts: list[int]) -> list[Schedule]:
    """Return what is to be measured: the schedules that draws find, and then those that their halves do."""
    every = [draw for count in counts for draw in _draws(entry)[count]]
    return [*dict.fromkeys([*(draw.own for draw in every), *(one for draw in every for one in draw.candidates)])]


def _draws(entry: Entry) -> dict[int, list[Draw]]:
    return {
        int(count): [
            Draw(size, number, {tuple(schedule): halves for schedule, halves in found}) for size, number, found in each
        ]
        for count, each in entry["draws"].items()
    }


def _measure(
    one: Subject, recorded: Trajectories, rule: spectrum.CalibratedRule, steps: int, schedule: Schedule
) -> list[float]:
    layout, made = layout_of(one, steps), []
    with attached(spectrum.SpectrumConfig(), rule, lambda _: schedule)(one.pipeline.pipeline):
        for shard in range(layout.num_shards):
            made += make_batch(one, layout, shard)
    return metrics.psnr(np.stack(made), recorded.media[: len(made)]).round(3).tolist()


def page(results: dict[str, Entry]) -> str:
    """Return a table for each model, number of steps and number of evaluations."""
    parts = [
        "# How far a calibration can be trusted",
        "PSNR to all-steps sampling in dB of the benchmark's 64 sentences, on the schedules that calibrations of so "
        "many prompts find: the lowest and the highest of all draws. `compared` takes, of up to "
        f"{CANDIDATES} schedules that are near in expected error or that halves of the prompts find, the one whose "
        f"lower half of PSNRs has the highest mean on {COMPARED} prompts that are not the benchmark's; draws whose "
        "schedules were not all measured are left out. "
        f"Coefficients are those of all sentences of the pool. Made by `{COMMAND}`.",
    ]
    for name, entry in results.items():
        rows = {key: row for key, row in entry["schedules"].items() if {"quality", "others"} <= row.keys()}
        for count, each in sorted(_draws(entry).items()):
            quality, others = (
                {tuple(map(int, key.split(","))): np.array(row[kind]) for key, row in rows.items()}
                for kind in ("quality", "others")
            )
            if any(draw.own in quality for draw in each):
                parts += [f"## {name} steps, {count} evaluated, a pool of {entry['pool']}"]
                parts += [summary(quality, others, each)]
    return "\n\n".join(parts) + "\n"


def _key(schedule: Schedule) -> str:
    return ",".join(map(str, schedule))


def _numbers(text: str) -> list[int]:
    return [*map(int, text.split(","))]


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(COMMAND, __doc__)
    recorded = Path(tempfile.gettempdir()) / "quality-trajectories"
    parser.add_argument("--models", default="demo,demo-video", help="default: %(default)s")
    parser.add_argument("--steps", default="28", help="numbers of steps; default: %(default)s")
    parser.add_argument("--counts", default="8,11,14", help="numbers of evaluations; default: %(default)s")
    parser.add_argument("--sizes", default="8,16,32,64", help="prompts of calibrations; default: %(default)s")
    parser.add_argument("--draws", type=int, default=8, help="of each size; default: %(default)s")
    parser.add_argument("--pool", type=int, default=POOL, help="sentences to draw from; default: %(default)s")
    parser.add_argument("--recorded", type=Path, default=recorded, help="trajectories; default: %(default)s")
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="seconds after which it stops")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
