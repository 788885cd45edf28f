"""Makes a run's own calibration: all processes that wait for it make its samples together."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import spectrum
from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute.calibration_bench import Bench
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
from jobs.store.atomic import create_bytes
from jobs.store.parts import share
from jobs.store.rundir import OUT_OF_REACH

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
    forecast = with_calibration(run.forecast, key, run.directory, run.directory.read())
    if forecast.pending:
        raise BadInput(f"{run.directory.calibration} is of another run: remove it, or use another exp_name")
    return replace(run, forecast=forecast)


class _Enough(Exception):
    """Somebody else finished the file, or this process is to stop."""


class _Making:
    """The making of one run's file, up to which it goes in step with every other process that makes it."""

    def __init__(self, run: Run, key: str, device: str, report: Callable[..., None], halt: Halt):
        assert run.forecast and run.forecast.automatic
        self._run, self._key, self._report, self._halt = run, key, report, halt
        self._forecast, self._automatic = run.forecast, run.forecast.automatic
        self._chosen = choose_samples(run.layout, self._automatic.samples)
        self._bench = Bench(run, device)
        self._adopted = run.directory.adopted.exists()  # of an earlier run
        samples = sum((not self._adopted) * len(each.recorded) + len(each.held) for each in self._chosen.values())
        self._folder = run.directory.calibrating(parts_key(key, self._chosen), samples)

    def make(self) -> None:
        """Make the file, or wait until somebody else has."""
        run = self._run
        try:
            calibration = self._calibration()
            if calibration.of(self._forecast.target):
                calibration = self._measured(calibration)
        except _Enough:
            return
        except RuntimeError:
            shutil.rmtree(self._folder, ignore_errors=True)  # it may have been the machine
            raise
        data = calibration.to_json().encode()
        create_bytes(run.directory.calibration, data)
        run.directory.pin_calibration(calibration.digest, calibration.source.get("quality", {}))
        if calibration_key(run.options, run.checkpoint, self._forecast, run.layout)[1] and calibration.of(
            self._forecast.target
        ):
            calibration_cache.keep(self._key, data)
        run.directory.adopted.unlink(missing_ok=True)
        for path in run.directory.calibrations_begun():
            shutil.rmtree(path, ignore_errors=True)

    def _share(self, makers: Mapping[str, Callable[[], bytes]], said: str) -> None:
        def heard(count: int) -> None:
            words = f"{count} of {len(makers)} samples {said}"
            log.info("calibrating: %s", words)
            self._report("calibrating", None, words)

        def made(make: Callable[[], bytes]) -> bytes:
            part = make()
            self._report("calibrated", None, "")
            return part

        own = {name: partial(made, make) for name, make in makers.items()}
        if not share(self._folder, own, enough=self._is_over, heard=heard):
            raise _Enough

    def _is_over(self) -> bool:
        return bool(self._halt.before(self._bench.seconds)) or self._run.directory.calibration.exists()

    def _calibration(self) -> spectrum.Calibration:
        """Make the samples with all steps, and from them the calibration, or take what an earlier run left."""
        recorded = {_name(steps, one): one for steps, each in self._chosen.items() for one in each.recorded}
        makers = {name: partial(self._bench.record, one) for name, one in recorded.items()}
        if self._adopted:
            makers.clear()
        for steps, each in self._chosen.items():
            makers |= {_name(steps, one): partial(self._bench.reference, one) for one in each.held}
        self._share(makers, "made with all steps")
        if self._adopted:
            return self._as_adopted()
        return _merge(self._run, self._key, self._chosen, [self._read(name) for name in recorded])

    def _as_adopted(self) -> spectrum.Calibration:
        try:
            return spectrum.Calibration.load(self._run.directory.adopted)
        except FileNotFoundError:
            raise _Enough from None

    def _measured(self, calibration: spectrum.Calibration) -> spectrum.Calibration:
        """Return the calibration with what its forecasts bring on the samples kept apart."""
        rule = spectrum.CalibratedRule(calibration, target=self._forecast.target)
        found = {}
        for steps, each in self._chosen.items():
            parts = calibration.source.get("parts", {}).get(str(steps), [steps])
            if not calibration.of(self._forecast.target).keys() >= {*parts}:
                continue
            if self._automatic.quality is not None:
                found[str(steps)] = self._least(rule, steps, each.held, self._automatic.quality)
            else:
                found[str(steps)] = self._quality(rule, steps, each.held, self._forecast.evaluations)
        return replace(calibration, source={**calibration.source, "quality": found})

    def _least(self, rule: spectrum.CalibratedRule, steps: int, held: list[Sample], quality: float) -> dict[str, Any]:
        """Return what the fewest evaluations bring that reach a quality; more are taken to bring no less."""

        def reached(count: int) -> dict[str, Any] | None:
            measured = self._quality(rule, steps, held, count)
            if not measured["psnr"]:
                raise BadInput("algo.quality cannot be measured, because the samples kept apart for it failed")
            best.append(measured)
            return measured if measured["psnr"]["mean"] >= quality else None

        best: list[dict[str, Any]] = []
        most = max(steps - 1, 1)
        if not (enough := reached(most)):
            said = (
                f"algo.quality={quality:g} is out of reach: with {most} of {steps} steps evaluated the run's samples "
                f"have {best[0]['psnr']['mean']:.1f} dB: ask for less, or use algo=nocache"
            )
            create_bytes(self._folder / f"{OUT_OF_REACH}{quality:g}", said.encode())  # for the next command
            raise BadInput(said)
        least = 1
        while least < enough["count"]:
            middle = (least + enough["count"]) // 2
            if measured := reached(middle):
                enough = measured
            else:
                least = middle + 1
        return {**enough, "asked": quality}

    def _quality(
        self, rule: spectrum.CalibratedRule, steps: int, held: list[Sample], count: int | None
    ) -> dict[str, Any]:
        """Return what so many evaluations bring: PSNR in dB and SSIM to the same samples with all steps.

        Args:
            rule: the calibration.
            steps: of the samples.
            held: the samples.
            count: evaluated steps, where two denoisers share them of each; None: as many as the window makes.
        """
        asked = self._forecast.count(steps, count)
        makers = {
            f"measured-{asked}-{_name(steps, one)}": partial(
                self._bench.compare, one, rule, count, self._folder / _name(steps, one)
            )
            for one in held
        }
        self._share(makers, f"forecast with {asked} of {steps} steps evaluated")
        each = [one for name in makers if (one := json.loads(self._read(name)))]
        schedule = "searched" if self._forecast.searched else "window"
        said: dict[str, Any] = {"count": asked, "schedule": schedule, "samples": len(each), "psnr": {}, "ssim": {}}
        said["evaluated"] = each[0]["evaluated"] if each else asked
        for name in ("psnr", "ssim") if each else ():
            values = [one[name] for one in each]
            said[name] = {"mean": float(np.mean(values)), "worst": min(values)}
        return said

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            if self._run.directory.calibration.exists():
                raise _Enough from None
            raise


def _name(steps: int, sample: Sample) -> str:
    return f"{steps}-{sample.index}"


def _merge(run: Run, key: str, chosen: dict[int, Chosen], parts: list[bytes]) -> spectrum.Calibration:
    """Return the calibration that the parts make, or one that says why there is none."""
    assert run.forecast and run.forecast.automatic
    contents = [json.loads(part) for part in parts]
    refused = [content for content in contents if "skipped" in content]
    samples = [one for each in chosen.values() for one in each.recorded]
    source = {"key": key, **source_of(run)}
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
    made = [
        spectrum.Calibration.from_json(part.decode())
        for part, content in zip(parts, contents, strict=True)
        if "skipped" not in content
    ]
    clock = {name: made[0].source[name] for name in ("scheduler", "scheduler_config")}
    counts = Counter(steps for one in made for steps in one.source["trajectories"])
    shared = {steps: each for one in made for steps, each in one.source.get("parts", {}).items()}
    said = {"trajectories": dict(counts), **({"parts": shared} if shared else {})}
    return spectrum.Calibration.mean(made, {**source, **clock, **said})
