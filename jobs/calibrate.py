"""Fit Spectrum's forecasts to a model: ``python -m jobs.calibrate model=flux prompt_file=my.txt --steps 50 28``.

Options are those of jobs.generate. Every step of the first prompts is evaluated, and what forecasts need to know of the
features and of the outputs, some numbers for each pair of steps, goes into one small file for
``spectrum.CalibratedRule``. For the numbers of evaluations that will be used, schedules that are near in expected error
are tried on the same prompts, and the best of them goes into the file too. The prompts should be such as will be used,
not the very same as those that quality is then measured on.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jobs.base.errors import BadInput, refuse
from jobs.dataset.layout import Layout, Sample
from jobs.execute.calibration_choice import choose
from jobs.media.fidelity import psnr
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Failure
from jobs.options.compose import compose_options
from jobs.run.calibration import source_of
from jobs.run.devices import worker_devices
from jobs.run.resolve import resolve
from jobs.run.run import Run
from jobs.store.atomic import write_bytes
from spectrum import CalibratedRule, Calibration, Recorder, SpectrumConfig, SpectrumError, attach

PROMPTS = 16  # more hardly change the matrices of the embedded model


def main(arguments: list[str] | None = None) -> int:
    """Record, choose, write the file and say what it is good for."""
    parser = argparse.ArgumentParser(prog="python -m jobs.calibrate", description=__doc__)
    parser.add_argument("options", nargs="*", help="options of jobs.generate, such as model=flux batch_size=1")
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps to calibrate for; default: the model's")
    help_ = "numbers of evaluated steps to choose schedules for; default: as many as the published window makes"
    parser.add_argument("--evaluations", type=int, nargs="+", help=help_)
    parser.add_argument("--out", type=Path, help="default: calibration-MODEL.json")
    given = parser.parse_intermixed_args(arguments)
    try:
        run = resolve(compose_options([f"total_prompt_num={PROMPTS}", *given.options, "algo=nocache"]))
        calibration = calibrate(run, given.steps or [run.options.num_inference_steps], given.evaluations)
    except (BadInput, SpectrumError) as error:
        refuse(str(error))
    out = given.out or Path(f"calibration-{run.options.model.name}.json")
    write_bytes(out, calibration.to_json().encode())
    for line in report(calibration):
        print(line)
    print(out)
    return 0


def calibrate(run: Run, steps: Sequence[int], evaluations: Sequence[int] | None = None) -> Calibration:
    """Make every prompt's sample once for each number of steps, recording, and again with each schedule to compare.

    Args:
        run: the samples.
        steps: numbers of steps.
        evaluations: numbers of evaluated steps to choose schedules for; None: as many as the published window makes.

    Raises:
        BadInput: the model is not there, or cannot be loaded here, or a sample failed; a number is out of range.
        SpectrumError: the pipeline is of a kind that cannot be calibrated.
    """
    default = SpectrumConfig()
    counts = {n: [len(default.evaluated_steps(n))] if evaluations is None else evaluations for n in steps}
    if wrong := [count for each in counts.values() for count in each if not 1 <= count <= min(steps)]:
        raise BadInput(f"--evaluations {wrong[0]} is not from 1 to {min(steps)}, the least number of steps")
    run.checkpoint.check()
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device=worker_devices(run.options)[0][0])
    references: dict[int, list[np.ndarray]] = {}
    with Recorder(pipeline.pipeline, targets=("features", "output")) as recorder:
        for n in steps:
            references[n] = _media(pipeline, run.layout, n)
        calibration: Calibration = recorder.calibration(source_of(run))
        trajectories = recorder.trajectories()
    choices = {
        n: {count: _choose(pipeline, run.layout, calibration, trajectories, n, count, references[n]) for count in each}
        for n, each in counts.items()
        if n in calibration.grams  # not where two denoisers share the steps
    }
    schedules = {n: {count: tuple(one[0]["evaluated"]) for count, one in each.items()} for n, each in choices.items()}
    said = {str(n): {str(count): one for count, one in each.items()} for n, each in choices.items()}
    return replace(calibration, source={**calibration.source, "choice": said}, schedules=schedules)


def _choose(
    pipeline: BatchPipeline,
    layout: Layout,
    calibration: Calibration,
    trajectories: Sequence[Calibration],
    steps: int,
    count: int,
    references: list[np.ndarray],
) -> list[dict[str, Any]]:
    def compare(tried: CalibratedRule, number: int, every: int) -> list[float]:
        print(f"{steps} steps, {count} evaluated: schedule {number + 1} of {every}", file=sys.stderr)
        with attach(pipeline.pipeline, rule=tried, schedule=lambda n: tried.schedule(n, count)):
            made = _media(pipeline, layout, steps)
        return [psnr(one, whole) for one, whole in zip(made, references, strict=True)]

    return choose(CalibratedRule(calibration), trajectories, steps, count, compare)


def report(calibration: Calibration) -> list[str]:
    """Return a line for each schedule that was chosen: what is expected of it, what it brought, and how sure it is."""
    rule, default = CalibratedRule(calibration), SpectrumConfig()
    lines = []
    for steps, counts in sorted(calibration.source["choice"].items(), key=lambda item: int(item[0])):
        window = default.evaluated_steps(int(steps))
        for count, ((best, *others)) in sorted(counts.items(), key=lambda item: int(item[0])):
            error = rule.expected_error(int(steps), best["evaluated"])
            line = f"{steps} steps, {count} evaluated: expected squared error {error:.3g}"
            if len(window) == int(count):
                line += f" (of the published window {rule.expected_error(int(steps), window):.3g})"
            line += (
                f" with {tuple(best['evaluated'])}, which {best['halves']} of {best['of']} halves of the samples find"
            )
            if others:
                every, samples = 1 + len(others), best["compared"]
                line += f"; {best['psnr']['mean']:.1f} dB, the best of {every} schedules on {samples} samples"
            lines.append(line)
    return lines


def _media(pipeline: BatchPipeline, layout: Layout, count: int) -> list[np.ndarray]:
    """Make all samples at that number of steps.

    Raises:
        BadInput: one of them failed.
    """
    made: list[np.ndarray] = []
    for batch in _batches(layout, count):
        for one in pipeline(batch):
            if isinstance(one, Failure):
                raise BadInput(f"sample {len(made)} of the calibration failed: {one.reason}")
            made.append(one.media)
        print(f"{count} steps: sample {len(made)} of {layout.num_samples}", file=sys.stderr)
    return made


def _batches(layout: Layout, count: int) -> Iterator[list[Sample]]:
    """Yield all batches of the layout at ``count`` steps, whatever the prompt file says."""
    for shard in range(layout.num_shards):
        for batch in layout.batches(shard):
            yield [replace(one, options=replace(one.options, num_inference_steps=count)) for one in batch]


if __name__ == "__main__":
    sys.exit(main())
