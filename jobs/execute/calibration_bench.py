"""Makes the samples of a run's own calibration, each as the contents of one file that processes share."""

import io
import json
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import spectrum
from jobs.dataset.layout import Sample
from jobs.execute.batch import generate_batch
from jobs.execute.begun import mark_begun
from jobs.media.fidelity import psnr, ssim
from jobs.model.forecast import best_schedule
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Failure, Made
from jobs.run.run import Run


class Bench:
    """The run's pipeline without forecasts, loaded when the first sample is made.

    Args:
        run: the run.
        device: torch device.

    Attributes:
        seconds: that the last sample took; 0 before the first.
    """

    def __init__(self, run: Run, device: str):
        assert run.forecast
        self.seconds = 0.0
        self._run, self._device, self._forecast = run, device, run.forecast

    @cached_property
    def _pipeline(self) -> BatchPipeline:
        import torch

        options = self._run.options
        torch.set_num_threads(options.cpu_threads)
        pipeline = load_pipeline(options.model, None, self._run.checkpoint, device=self._device, keep_flagged=True)
        mark_begun()
        return pipeline

    def record(self, sample: Sample) -> bytes:
        """Make a sample with every step evaluated; return its calibration, or why there is none."""
        try:
            recorder = self._recorder()
        except spectrum.SpectrumError as error:
            return _skipped(str(error), unfit=True)
        with recorder:
            result = self._made(sample)
            try:
                calibration: spectrum.Calibration = recorder.calibration({})
            except spectrum.SpectrumError as error:
                reason = result.reason if isinstance(result, Failure) else str(error)
                return _skipped(reason, unfit=reason.startswith("SpectrumError"))
        grams = [*calibration.grams.values(), *calibration.output_grams.values()]
        if not all(np.isfinite(gram).all() for gram in grams):
            return _skipped("the model's output is not finite", unfit=False)
        return calibration.to_json().encode()

    def reference(self, sample: Sample) -> bytes:
        """Make a sample with every step evaluated; return its pixels as a npy file, empty where it failed."""
        result = self._made(sample)
        if isinstance(result, Failure):
            return b""
        file = io.BytesIO()
        np.save(file, result.media)
        return file.getvalue()

    def compare(self, sample: Sample, rule: spectrum.CalibratedRule, evaluations: int | None, reference: Path) -> bytes:
        """Make a sample with forecasts; return how near it is to its reference, or null where one of both failed.

        Args:
            sample: as for ``reference``.
            rule: the calibration.
            evaluations: evaluated steps of the searched schedule; None: the window's.
            reference: the file of the reference.
        """
        data = reference.read_bytes()
        if not data:
            return b"null"

        def search(num_steps: int) -> tuple[int, ...]:
            assert evaluations
            return best_schedule(rule, num_steps, evaluations)

        config, target = self._forecast.config, self._forecast.target
        schedule = search if evaluations else None
        with spectrum.attach(self._pipeline.pipeline, config, rule=rule, schedule=schedule, target=target):
            result = self._made(sample)
        if isinstance(result, Failure):
            return b"null"
        whole = np.load(io.BytesIO(data))
        return json.dumps({"psnr": psnr(result.media, whole), "ssim": ssim(result.media, whole)}).encode()

    def _made(self, sample: Sample) -> Made | Failure:
        begun = time.perf_counter()
        (result,) = generate_batch(self._pipeline, [sample]).values()
        self.seconds = time.perf_counter() - begun
        return result

    def _recorder(self) -> Any:
        """Listen to features and outputs; to outputs alone where features cannot be forecast and need not."""
        pipeline = self._pipeline.pipeline
        try:
            return spectrum.Recorder(pipeline, targets=("features", "output"))
        except spectrum.SpectrumError:
            if self._forecast.target == "output":
                return spectrum.Recorder(pipeline, targets=("output",))
            raise


def _skipped(reason: str, *, unfit: bool) -> bytes:
    return json.dumps({"skipped": reason, "unfit": unfit}).encode()
