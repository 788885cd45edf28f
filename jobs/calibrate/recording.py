"""Makes the samples of a calibration: with every step evaluated, and with each of the schedules to choose from."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jobs.base.errors import BadInput
from jobs.dataset.layout import Layout, Sample
from jobs.execute.calibration_choice import choose, chosen
from jobs.media.fidelity import psnr
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Failure
from jobs.run.calibration import source_of
from jobs.run.devices import worker_devices
from jobs.run.run import Run
from spectrum import CalibratedRule, Calibration, Recorder, SpectrumConfig, attach


def calibrate(run: Run, steps: Sequence[int], evaluations: Sequence[int] | None = None) -> Calibration:
    """Make every prompt's sample once for each number of steps, recording, and again with all that is compared.

    Args:
        run: the samples.
        steps: numbers of steps.
        evaluations: numbers of evaluated steps to choose schedules for; None: as many as the published window makes.

    The samples with all steps are kept in memory, as pixels.

    Raises:
        BadInput: the model is not there, or cannot be loaded here, or a sample failed; a number is out of range.
        SpectrumError: the pipeline is of a kind that cannot be calibrated.
    """
    counts = counts_of(steps, evaluations)
    run.checkpoint.check()
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device=worker_devices(run.options)[0][0])
    references: dict[int, list[np.ndarray]] = {}
    with Recorder(pipeline.pipeline, targets=("features", "output")) as recorder:
        for n in steps:
            references[n] = [*_media(pipeline, run.layout, n)]
        calibration: Calibration = recorder.calibration(source_of(run))
        trajectories = recorder.trajectories()
    choices = {
        n: {count: _choose(pipeline, run.layout, calibration, trajectories, n, count, references[n]) for count in each}
        for n, each in counts.items()
        if "parts" not in calibration.source  # which two denoisers have that share the steps
    }
    best = {(n, count): choice[0] for n, each in choices.items() for count, choice in each.items()}
    said = {str(n): {str(count): choice for count, choice in each.items()} for n, each in choices.items()}
    return chosen(replace(calibration, source={**calibration.source, "choice": said}), "features", best)


def counts_of(steps: Sequence[int], evaluations: Sequence[int] | None) -> dict[int, Sequence[int]]:
    """Return, for each number of steps, the numbers of evaluated ones that schedules are chosen for.

    Raises:
        BadInput: one is more than there are steps.
    """
    if evaluations is None:
        return {n: [len(SpectrumConfig().evaluated_steps(n))] for n in steps}
    if wrong := [count for count in evaluations if not 1 <= count <= min(steps)]:
        raise BadInput(f"--evaluations {wrong[0]} is not from 1 to {min(steps)}, the least number of steps")
    return dict.fromkeys(steps, evaluations)


def _choose(
    pipeline: BatchPipeline,
    layout: Layout,
    calibration: Calibration,
    trajectories: Sequence[Calibration],
    steps: int,
    count: int,
    references: list[np.ndarray],
) -> list[dict[str, Any]]:
    def compare(tried: CalibratedRule, kind: str, number: int, every: int) -> list[float]:
        print(f"{steps} steps, {count} evaluated: {kind} {number + 1} of {every}", file=sys.stderr)
        with attach(pipeline.pipeline, rule=tried, schedule=lambda n: tried.schedule(n, count)):
            made = _media(pipeline, layout, steps)
            return [psnr(one, whole) for one, whole in zip(made, references, strict=True)]

    return choose(CalibratedRule(calibration), trajectories, steps, count, compare)


def _media(pipeline: BatchPipeline, layout: Layout, count: int) -> Iterator[np.ndarray]:
    """Make all samples at that number of steps, and yield each: uint8.

    Raises:
        BadInput: one of them failed.
    """
    for batch in _batches(layout, count):
        for sample, one in zip(batch, pipeline(batch), strict=True):
            if isinstance(one, Failure):
                raise BadInput(f"sample {sample.index} of the calibration failed: {one.reason}")
            yield one.media
        print(f"{count} steps: sample {batch[-1].index + 1} of {layout.num_samples}", file=sys.stderr)


def _batches(layout: Layout, count: int) -> Iterator[list[Sample]]:
    """Yield all batches of the layout at ``count`` steps, whatever the prompt file says."""
    for shard in range(layout.num_shards):
        for batch in layout.batches(shard):
            yield [replace(one, options=replace(one.options, num_inference_steps=count)) for one in batch]
