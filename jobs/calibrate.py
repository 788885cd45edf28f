"""Fit Spectrum's forecasts to a model: ``python -m jobs.calibrate model=flux prompt_file=my.txt --steps 50 28``.

Options are those of jobs.generate. Every step of the first prompts is evaluated, and what forecasts need to know of the
features and of the outputs, some numbers for each pair of steps, goes into one small file for
``spectrum.CalibratedRule``. The prompts should be such as will be used, not the very same as those that quality is then
measured on.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.base.errors import BadInput, refuse
from jobs.dataset.layout import Layout, Sample
from jobs.model.load import load_pipeline
from jobs.options.compose import compose_options
from jobs.run.calibration import source_of
from jobs.run.devices import worker_devices
from jobs.run.resolve import resolve
from jobs.run.run import Run
from jobs.store.atomic import write_bytes
from spectrum import CalibratedRule, Calibration, Recorder, SpectrumConfig, SpectrumError, candidates

PROMPTS = 16  # more hardly change the matrices of the embedded model


def main(arguments: list[str] | None = None) -> int:
    """Record, write the file and say what it is good for."""
    parser = argparse.ArgumentParser(prog="python -m jobs.calibrate", description=__doc__)
    parser.add_argument("options", nargs="*", help="options of jobs.generate, such as model=flux batch_size=1")
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps to calibrate for; default: the model's")
    parser.add_argument("--out", type=Path, help="default: calibration-MODEL.json")
    given = parser.parse_intermixed_args(arguments)
    try:
        run = resolve(compose_options([f"total_prompt_num={PROMPTS}", *given.options, "algo=nocache"]))
        calibration = calibrate(run, given.steps or [run.options.num_inference_steps])
    except (BadInput, SpectrumError) as error:
        refuse(str(error))
    out = given.out or Path(f"calibration-{run.options.model.name}.json")
    write_bytes(out, calibration.to_json().encode())
    for line in report(calibration):
        print(line)
    print(out)
    return 0


def calibrate(run: Run, steps: Iterable[int]) -> Calibration:
    """Make every prompt's sample once for each number of steps, recording.

    Raises:
        BadInput: the model is not there, or cannot be loaded here.
        SpectrumError: the pipeline is of a kind that cannot be calibrated.
    """
    run.checkpoint.check()
    device = worker_devices(run.options)[0][0]
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device=device)
    with Recorder(pipeline.pipeline, targets=("features", "output")) as recorder:
        for count in steps:
            for batch in _batches(run.layout, count):
                pipeline(batch)
                print(f"{count} steps: sample {batch[-1].index + 1} of {run.layout.num_samples}", file=sys.stderr)
        calibration: Calibration = recorder.calibration(source_of(run))
        halves = found_by_halves(calibration, recorder.trajectories())
    return replace(calibration, source={**calibration.source, "halves": halves})


def found_by_halves(calibration: Calibration, trajectories: Sequence[Calibration]) -> dict[str, dict[str, int]]:
    """Return how sure the default schedule of each number of steps is: how many halves of the samples find it too."""
    rule, sure = CalibratedRule(calibration), {}
    for count in calibration.grams:
        found = candidates(rule, trajectories, count, len(SpectrumConfig().evaluated_steps(count)))
        sure[str(count)] = {"found": next(iter(found.values())), "of": sum(found.values())}
    return sure


def report(calibration: Calibration) -> list[str]:
    """Return, for each number of steps, expected squared errors of the default schedule and of the best.

    And how sure the best one is: few halves that find it mean that others may be as good.
    """
    rule, default = CalibratedRule(calibration), SpectrumConfig()
    lines = []
    for count in sorted(calibration.grams):
        evaluated = default.evaluated_steps(count)
        found = rule.schedule(count, len(evaluated))
        before, after = (rule.expected_error(count, steps) for steps in (evaluated, found))
        sure = calibration.source["halves"][str(count)]
        lines.append(
            f"{count} steps, {len(evaluated)} evaluated: expected squared errors {before:.3g}, {after:.3g} with {found}"
            f", which {sure['found']} of {sure['of']} halves of the samples find"
        )
    return lines


def _batches(layout: Layout, count: int) -> Iterator[list[Sample]]:
    """Yield all batches of the layout at ``count`` steps, whatever the prompt file says."""
    for shard in range(layout.num_shards):
        for batch in layout.batches(shard):
            yield [replace(one, options=replace(one.options, num_inference_steps=count)) for one in batch]


if __name__ == "__main__":
    sys.exit(main())
