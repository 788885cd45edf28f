"""Makes the samples of a calibration: with every step evaluated, and with each of the schedules to choose from."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jobs.base.errors import BadInput
from jobs.dataset.layout import Layout, Sample
from jobs.execute.calibration_choice import choose
from jobs.media.fidelity import psnr
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Failure
from jobs.run.calibration import source_of
from jobs.run.devices import worker_devices
from jobs.run.run import Run
from spectrum import CalibratedRule, Calibration, Recorder, SpectrumConfig, attach


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
