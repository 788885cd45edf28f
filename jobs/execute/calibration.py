"""Makes a run's own calibration: all processes that wait for it make its samples together."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import spectrum
from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute.calibration_bench import Bench
from jobs.execute.calibration_parts import Enough, Parts, line_of
from jobs.execute.calibration_quality import Measuring, part_name
from jobs.execute.halt import Halt
from jobs.model import calibration_cache
from jobs.run.calibration import (
    Chosen,
    calibration_key,
    choose_samples,
    parts_key,
    source_of,
    with_calibration,
)
from jobs.run.run import Run

log = logging.getLogger(__name__)


def calibrated(run: Run, device: str, report: Callable[..., None], halt: Halt | None = None) -> Run:
    """Return the run with its calibration, which is made first where the run makes its own and has not yet.

    Every process of a run calls it before it makes a sample. Those that come while it is being made take part.

    Args:
        run: the run.
        device: torch device.
        report: called as ``report("calibrating", None, "3 of 24 samples")``, whoever made them, and as
            ``report("calibrated", None, "")`` for each one that this process made.
        halt: is asked before each sample; where it is to stop, the run comes back as it was.

    Raises:
        BadInput: the model cannot be calibrated, and the user asked for it; no number of evaluations has the quality
            that was asked for; or the file is not the run's.
        RuntimeError: hardly any of the samples could be made.
    """
    if run.forecast is None or not run.forecast.pending:
        return run
    key, _ = calibration_key(run.options, run.checkpoint, run.forecast, run.layout)
    if not run.directory.calibration.exists():
        halt = halt or Halt()
        _Making(run, key, device, report, halt).make()
        if halt.why:
            return run
    forecast = with_calibration(run.forecast, key, run.checkpoint, run.directory, run.directory.read())
    if forecast.pending:
        raise BadInput(f"{run.directory.calibration} is of another run: remove it, or use another exp_name")
    return replace(run, forecast=forecast)


class _Making:
    """The making of one run's file, up to which it goes in step with every other process that makes it."""

    def __init__(self, run: Run, key: str, device: str, report: Callable[..., None], halt: Halt):
        assert run.forecast and run.forecast.automatic
        self._run, self._key = run, key
        self._forecast, self._automatic = run.forecast, run.forecast.automatic
        self._chosen = choose_samples(run.layout, self._automatic.samples)
        self._bench = Bench(run, device)
        self._adopted = run.directory.adopted.exists()  # of an earlier run
        self._recorded: list[spectrum.Calibration] = []
        samples = sum((not self._adopted) * len(each.recorded) + len(each.held) for each in self._chosen.values())
        folder = run.directory.calibrating(parts_key(key, run.checkpoint, self._chosen), samples)
        self._parts = Parts(run, folder, report, halt, lambda: self._bench.seconds)

    def make(self) -> None:
        """Make the file, or wait until somebody else has."""
        run = self._run
        try:
            calibration = self._calibration()
            if calibration.of(self._forecast.target):
                measuring = Measuring(self._forecast, self._chosen, self._recorded, self._bench, self._parts)
                calibration = measuring.measured(calibration)
        except Enough:
            return
        except RuntimeError:
            shutil.rmtree(self._parts.folder, ignore_errors=True)  # it may have been the machine
            raise
        data = run.directory.create_calibration(calibration.to_json().encode())
        calibration = spectrum.Calibration.from_json(data.decode())  # another machine may have been first
        run.directory.pin_calibration(calibration.digest, calibration.source.get("quality", {}))
        if calibration_key(run.options, run.checkpoint, self._forecast, run.layout)[1] and calibration.of(
            self._forecast.target
        ):
            calibration_cache.keep(self._key, data)
        run.directory.adopted.unlink(missing_ok=True)
        for path in run.directory.calibrations_begun():
            shutil.rmtree(path, ignore_errors=True)

    def _calibration(self) -> spectrum.Calibration:
        """Make the samples with all steps, and from them the calibration, or take what an earlier run left."""
        recorded = {part_name(steps, one): one for steps, each in self._chosen.items() for one in each.recorded}
        makers = {name: partial(self._bench.record, one) for name, one in recorded.items()}
        if self._adopted:
            makers.clear()
        for steps, each in self._chosen.items():
            makers |= {part_name(steps, one): partial(self._bench.reference, one) for one in each.held}
        self._parts.make(makers, "made with all steps")
        if self._adopted:
            return self._as_adopted()
        lines = [self._parts.read(name, line_of) for name in recorded]
        self._recorded = _trajectories(lines)
        return _merge(self._run, self._key, self._chosen, lines)

    def _as_adopted(self) -> spectrum.Calibration:
        try:
            return spectrum.Calibration.load(self._run.directory.adopted)
        except FileNotFoundError:
            raise Enough from None


def _merge(run: Run, key: str, chosen: dict[int, Chosen], lines: list[str]) -> spectrum.Calibration:
    """Return the calibration that the samples make, or one that says why there is none.

    Raises:
        BadInput: the model cannot be calibrated, and the user asked for it.
        RuntimeError: more than half of the samples failed.
    """
    assert run.forecast and run.forecast.automatic
    contents = [json.loads(line) for line in lines]
    refused = [content for content in contents if "skipped" in content]
    samples: list[Sample] = [one for each in chosen.values() for one in each.recorded]
    source: dict[str, Any] = {"key": key, **source_of(run)}
    source["prompts"] = {"samples": [one.index for one in samples], "count": len(samples)}
    if 2 * len(refused) > len(contents):
        reason = refused[0]["skipped"]
        if not any(content["unfit"] for content in refused):
            raise RuntimeError(f"{len(refused)} of the {len(contents)} samples of the calibration failed: {reason}")
        impossible = f"this model cannot be calibrated: {reason}"
        if run.forecast.automatic.asked:
            raise BadInput(f"{impossible} (algo.calibration=none forecasts as published)")
        log.warning("forecasts are as published, because %s", impossible)
        return spectrum.Calibration({}, {**source, "impossible": impossible})
    made = _trajectories(lines)
    clock = {name: made[0].source[name] for name in ("scheduler", "scheduler_config")}
    counts = Counter(steps for one in made for steps in one.source["trajectories"])
    shared = {steps: each for one in made for steps, each in one.source.get("parts", {}).items()}
    said = {"trajectories": dict(counts), **({"parts": shared} if shared else {})}
    return spectrum.Calibration.mean(made, {**source, **clock, **said})


def _trajectories(lines: list[str]) -> list[spectrum.Calibration]:
    """Return the calibrations of the samples that did not fail."""
    return [spectrum.Calibration.from_json(line) for line in lines if "skipped" not in json.loads(line)]
