"""Makes a run's own calibration: all processes that wait for it make its samples together."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

import spectrum
from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute.batch import generate_batch
from jobs.model import calibration_cache
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Failure
from jobs.run.calibration import Chosen, calibration_key, choose_samples, parts_key, source_of, with_calibration
from jobs.run.run import Run
from jobs.store.atomic import create_bytes
from jobs.store.parts import share

log = logging.getLogger(__name__)


def calibrated(run: Run, device: str, report: Callable[..., None]) -> Run:
    """Return the run with its calibration, which is made first where the run makes its own and has not yet.

    Every process of a run calls it before it makes a sample. Those that come while it is being made take part.

    Args:
        run: the run.
        device: torch device.
        report: called as ``report("calibrating", None, "3 of 24 samples")``.

    Raises:
        BadInput: the model cannot be calibrated, and the user asked for it; or the file is not the run's.
        RuntimeError: none of the samples could be made.
    """
    if run.forecast is None or not run.forecast.pending:
        return run
    key, shared = calibration_key(run.options, run.checkpoint, run.forecast, run.layout)
    if not run.directory.calibration.exists():
        _make(run, key, shared, device, report)
    forecast = with_calibration(run.forecast, key, run.directory, run.directory.read())
    if forecast.pending:
        raise BadInput(f"{run.directory.calibration} is of another run: remove it, or use another exp_name")
    return replace(run, forecast=forecast)


def _make(run: Run, key: str, shared: bool, device: str, report: Callable[..., None]) -> None:
    """Make the file, or wait until somebody else has."""
    assert run.forecast and run.forecast.automatic
    automatic = run.forecast.automatic
    chosen = choose_samples(run.layout, automatic.samples)
    bench = _Bench(run, device)
    makers = {
        f"{steps}-{sample.index}.json": partial(bench.record, sample)
        for steps, each in chosen.items()
        for sample in each.recorded
    }
    folder = run.directory.calibrating(parts_key(key, chosen), len(makers))

    def heard(count: int) -> None:
        said = f"{count} of {len(makers)} samples"
        log.info("calibrating: %s", said)
        report("calibrating", None, said)

    parts = share(folder, makers, enough=run.directory.calibration.exists, heard=heard)
    if parts is None:
        return
    try:
        calibration = _merge(run, key, chosen, list(parts.values()))
    except RuntimeError:
        shutil.rmtree(folder, ignore_errors=True)  # it may have been the machine
        raise
    data = calibration.to_json().encode()
    create_bytes(run.directory.calibration, data)
    run.directory.pin_calibration(calibration.digest)
    if shared and calibration.of(run.forecast.target):
        calibration_cache.keep(key, data)
    for path in run.directory.calibrations_begun():
        shutil.rmtree(path, ignore_errors=True)


def _merge(run: Run, key: str, chosen: dict[int, Chosen], parts: list[bytes]) -> spectrum.Calibration:
    """Return the calibration that the parts make, or one that says why there is none."""
    assert run.forecast and run.forecast.automatic
    contents = [json.loads(part) for part in parts]
    refused = [content for content in contents if "skipped" in content]
    source = {"key": key, **source_of(run)}
    samples = [one for each in chosen.values() for one in each.recorded]
    source["prompts"] = {"samples": [one.index for one in samples], "count": len(samples)}
    if 2 * len(refused) > len(contents):
        reason = refused[0]["skipped"]
        if not any(content["unfit"] for content in refused):
            raise RuntimeError(f"{len(refused)} of the {len(contents)} samples of the calibration failed: {reason}")
        if run.forecast.automatic.asked:
            raise BadInput(f"this model cannot be calibrated: {reason} (algo.calibration=none forecasts as published)")
        log.warning("forecasts are as published, because %s", reason)
        return spectrum.Calibration({}, {**source, "impossible": f"this model cannot be calibrated: {reason}"})
    made = [
        spectrum.Calibration.from_json(part.decode())
        for part, content in zip(parts, contents, strict=True)
        if "skipped" not in content
    ]
    clock = {name: made[0].source[name] for name in ("scheduler", "scheduler_config")}
    counts = {str(steps): sum(steps in {*one.grams, *one.output_grams} for one in made) for steps in chosen}
    return spectrum.Calibration.mean(made, {**source, **clock, "trajectories": counts})


class _Bench:
    """The plain pipeline, loaded when the first sample is made."""

    def __init__(self, run: Run, device: str):
        self._run, self._device = run, device

    @cached_property
    def _pipeline(self) -> BatchPipeline:
        import torch

        options = self._run.options
        torch.set_num_threads(options.cpu_threads)
        return load_pipeline(options.model, None, self._run.checkpoint, device=self._device, keep_flagged=True)

    def record(self, sample: Sample) -> bytes:
        """Make a sample with every step evaluated; return its inner products, or why there are none."""
        try:
            recorder = self._recorder()
        except spectrum.SpectrumError as error:
            return _skipped(str(error), unfit=True)
        with recorder:
            (result,) = generate_batch(self._pipeline, [sample]).values()
            try:
                calibration: spectrum.Calibration = recorder.calibration({})
            except spectrum.SpectrumError as error:
                reason = result.reason if isinstance(result, Failure) else str(error)
                return _skipped(reason, unfit=reason.startswith("SpectrumError"))
        grams = [*calibration.grams.values(), *calibration.output_grams.values()]
        if not all(np.isfinite(gram).all() for gram in grams):
            return _skipped("the model's output is not finite", unfit=False)
        return calibration.to_json().encode()

    def _recorder(self) -> Any:
        """Listen to features and outputs; to outputs alone where features cannot be forecast and need not."""
        pipeline = self._pipeline.pipeline
        try:
            return spectrum.Recorder(pipeline, targets=("features", "output"))
        except spectrum.SpectrumError:
            if self._run.forecast and self._run.forecast.target == "output":
                return spectrum.Recorder(pipeline, targets=("output",))
            raise


def _skipped(reason: str, *, unfit: bool) -> bytes:
    return json.dumps({"skipped": reason, "unfit": unfit}).encode()
