"""Makes the samples of a run's own calibration, each as the contents of one file that processes share."""

import json
import time
from functools import cached_property
from pathlib import Path

import numpy as np

import spectrum
from jobs.dataset.layout import Sample
from jobs.execute.batch import generate_batch
from jobs.execute.begun import mark_begun
from jobs.execute.calibration_parts import pack, pixels_of
from jobs.media.fidelity import psnr, ssim
from jobs.model.forecast import best_schedule
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Failure, Made
from jobs.run.run import Run

_UNFIT = f"{spectrum.SpectrumError.__name__}: "  # how a reason begins that lies in the model


class Bench:
    """The run's pipeline without forecasts, loaded when the first sample is made.

    Args:
        run: the run.
        device: torch device.

    Attributes:
        seconds: that the last sample took; 0 before the first.
        vae_pin: of ``Checkpoint``.
    """

    def __init__(self, run: Run, device: str):
        assert run.forecast
        self.seconds = 0.0
        self.vae_pin = run.checkpoint.vae_pin
        self._unfit = ""  # why the model cannot be calibrated
        # Both where it can be, which serves runs of either target; what is forecast alone where not.
        self._targets = [("features", "output"), (run.forecast.target,)]
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
        """Make a sample with every step evaluated; return its calibration, or why there is none, and its pixels."""
        while self._targets:
            try:
                recorder = spectrum.Recorder(self._pipeline.pipeline, targets=self._targets[0])
            except spectrum.SpectrumError as error:
                self._give_up(str(error))
                continue
            with recorder:
                result = self._made(sample)
                try:
                    calibration: spectrum.Calibration = recorder.calibration({})
                except spectrum.SpectrumError as error:
                    reason = result.reason if isinstance(result, Failure) else str(error)
                    if not reason.startswith(_UNFIT):
                        return _skipped(reason, unfit=False)
                    self._give_up(reason.removeprefix(_UNFIT))
                    continue
            grams = [*calibration.grams.values(), *calibration.output_grams.values()]
            if not all(np.isfinite(gram).all() for gram in grams):
                return _skipped("the model's output is not finite", unfit=False)
            return pack(calibration.to_json(), None if isinstance(result, Failure) else result.media)
        return _skipped(self._unfit, unfit=True)

    def _give_up(self, reason: str) -> None:
        """Try no other sample with these targets: it is the model."""
        del self._targets[0]
        self._unfit = reason

    def reference(self, sample: Sample) -> bytes:
        """Make a sample with every step evaluated; return its pixels, nothing where it failed."""
        result = self._made(sample)
        return pack("", None if isinstance(result, Failure) else result.media)

    def compare(self, sample: Sample, rule: spectrum.CalibratedRule, count: int | None, reference: Path) -> bytes:
        """Make a sample with forecasts; return how near it is to its reference, or null where one of both failed.

        Args:
            sample: as for ``reference``.
            rule: the calibration.
            count: evaluated steps of a searched schedule, of each denoiser; None: as many as the window makes.
            reference: the file of the sample with every step evaluated.
        """
        whole = pixels_of(reference)
        if whole is None:
            return b"null"

        config, target = self._forecast.config, self._forecast.target

        def search(num_steps: int) -> tuple[int, ...]:
            return best_schedule(rule, num_steps, self._forecast.count(num_steps, count))

        schedule = search if self._forecast.searched else None
        with spectrum.attach(self._pipeline.pipeline, config, rule=rule, schedule=schedule, target=target) as handle:
            result = self._made(sample)
            evaluated = handle.statistics.evaluated_steps
        if isinstance(result, Failure):
            return b"null"
        near = {"psnr": psnr(result.media, whole), "ssim": ssim(result.media, whole)}
        return json.dumps({"evaluated": evaluated, **near}).encode()

    def _made(self, sample: Sample) -> Made | Failure:
        begun = time.perf_counter()
        (result,) = generate_batch(self._pipeline, [sample]).values()
        self.seconds = time.perf_counter() - begun
        return result


def _skipped(reason: str, *, unfit: bool) -> bytes:
    return pack(json.dumps({"skipped": reason, "unfit": unfit}))
