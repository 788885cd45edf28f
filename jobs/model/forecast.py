"""How a run forecasts: what ``spectrum.attach`` takes, and what identity and json say of it. No torch here."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

import spectrum
from jobs.model.calibration_file import CalibrationFile
from jobs.options.schema import SCHEDULE

# The numbers of the published form: whoever gives one wants that form.
FORM = ("w", "lam", "m", "horizon", "force_last")


@dataclass(frozen=True)
class CalibratedOrPublished:
    """Calibrated coefficients for the step counts that were calibrated, the Chebyshev form's for all others."""

    calibrated: spectrum.CalibratedRule
    published: spectrum.ChebyshevRule

    def fits(self, num_steps: int) -> bool:
        """Return whether the calibration has that number of steps."""
        return num_steps in self.calibrated.calibration.of(self.calibrated.target)

    def coefficients(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> np.ndarray:
        """Return float64 (K,): see ``spectrum.ForecastRule``."""
        rule = self.calibrated if self.fits(num_steps) else self.published
        return rule.coefficients(evaluated_before, step, num_steps)

    def suited_to(self, num_steps: int, evaluated: Sequence[int]) -> "CalibratedOrPublished":
        """Return it with the calibrated coefficients fitted for that schedule: see ``spectrum.CalibratedRule``."""
        return replace(self, calibrated=self.calibrated.suited_to(num_steps, evaluated))

    def describe(self) -> str:
        """Name both rules, their numbers and the calibration."""
        return f"{self.calibrated.describe()}, else {self.published.describe()}"


@dataclass(frozen=True)
class Automatic:
    """What is asked of a run that makes its calibration itself.

    Attributes:
        samples: that it is made from.
        asked: whether the user asked for it; else it is what is done where nothing is said.
        quality: the PSNR in dB that as few evaluations as possible have to reach; None: their number is given.
    """

    samples: int = 16
    asked: bool = False
    quality: float | None = None


@dataclass(frozen=True)
class Forecast:
    """How denoising steps are forecast.

    Attributes:
        config: the published form's numbers, and where features are kept.
        calibration: the file of the calibrated coefficients; None: the published form, or not made yet.
        misfit: why that file is not used after all, or none is made; None where that needs no word.
        searched: whether the evaluated steps are searched with the calibration.
        evaluations: evaluated steps of a searched schedule; None: as many as the window makes.
        target: what is forecast, "features" or "output".
        automatic: of a run that makes its calibration itself; None for others.
    """

    config: spectrum.SpectrumConfig
    calibration: CalibrationFile | None = None
    misfit: str | None = None
    searched: bool = False
    evaluations: int | None = None
    target: str = "features"
    automatic: Automatic | None = None

    @property
    def pending(self) -> bool:
        """Whether the run has still to make its calibration."""
        return self.automatic is not None and self.calibration is None

    @property
    def rule(self) -> CalibratedOrPublished | None:
        """What gives the coefficients; None for the published form."""
        if self.calibration is None or self.misfit:
            return None
        calibrated = spectrum.CalibratedRule(self.calibration.read(), target=self.target)
        return CalibratedOrPublished(calibrated, self.config.rule())

    @property
    def schedule(self) -> Callable[[int], Sequence[int]] | None:
        """What gives the evaluated steps; None for the published window."""
        rule = self.rule if self.searched else None
        if rule is None:
            return None

        def search(num_steps: int) -> Sequence[int]:
            if not rule.fits(num_steps):
                return self.config.evaluated_steps(num_steps)
            found = self.measured(num_steps)["count"] if self.automatic and self.automatic.quality else None
            return best_schedule(rule.calibrated, num_steps, self.count(num_steps, found))

        return search

    def count(self, num_steps: int, asked: int | None = None) -> int:
        """Return how many of so many steps are evaluated: as asked here, or in the options, or by the window."""
        return min(asked or self.evaluations or len(self.config.evaluated_steps(num_steps)), num_steps)

    def measured(self, num_steps: int) -> dict[str, Any]:
        """Return what the run measured of its own forecasts (``jobs.execute.calibration``); empty where it did not."""
        if self.automatic is None or self.calibration is None:
            return {}
        source = self.calibration.read().source
        # Of one of two denoisers that share the steps, what was measured of both together.
        wholes = [whole for whole, parts in source.get("parts", {}).items() if num_steps in parts]
        measured = source.get("quality", {})
        return next((measured[steps] for steps in (str(num_steps), *wholes) if steps in measured), {})

    def plan(self, num_steps: int) -> spectrum.StepPlan:
        """Return what happens in a trajectory of so many steps."""
        schedule = self.schedule
        return spectrum.StepPlan.build(num_steps, self.config, self.rule, schedule(num_steps) if schedule else None)

    def described(self) -> dict[str, Any]:
        """Return what decides the bytes of samples, for the run's identity: of a calibration its contents."""
        numbers = asdict(self.config)
        del numbers["history_device"]  # the forecasts are the same
        return {
            "name": "spectrum",
            "target": self.target,
            **numbers,
            **self._described_calibration(),
            "schedule": "searched" if self.searched else "window",
            "evaluations": self.evaluations,
        }

    def _described_calibration(self) -> dict[str, Any]:
        """Of one that the run makes itself not the contents: they follow, and are not there when it begins."""
        if self.automatic:
            asked = {"calibration": "auto", "calibration_prompts": self.automatic.samples}
            return {"weights": "calibrated", **asked, "quality": self.automatic.quality}
        return {
            "weights": "calibrated" if self.calibration else "chebyshev",
            "calibration": self.calibration.digest if self.calibration else None,
        }


def as_used(forecast: Forecast | None, plans: Sequence[spectrum.StepPlan], num_steps: int) -> dict[str, Any]:
    """Return how the steps of a sample were taken, for its json: the same fields for all, 0 or "" where unused.

    Args:
        forecast: how the run forecasts; None for the plain pipeline.
        plans: what was done, of each denoiser that had a part in the steps, in their order; empty likewise.
        num_steps: denoising steps of the sample.
    """
    numbers: dict[str, Any] = dict.fromkeys((*FORM, *SCHEDULE), 0)
    used = {"name": "nocache", "target": "", "weights": "", "calibration": "", "schedule": ""}
    expected = {"expected_psnr": 0.0, "expected_ssim": 0.0}
    evaluated: Sequence[int] = range(num_steps)
    if forecast and plans:
        rule, config = forecast.rule, forecast.config
        calibrated = rule is not None and all(rule.fits(plan.num_steps) for plan in plans)
        searched = calibrated and forecast.searched
        used = {
            "name": "spectrum",
            "target": forecast.target,
            "weights": "calibrated" if calibrated else "chebyshev",
            "calibration": forecast.calibration.digest if forecast.calibration and calibrated else "",
            "schedule": "searched" if searched else "window",
        }
        if not calibrated:
            numbers |= {"w": config.w, "lam": config.lam, "m": config.m, "horizon": config.horizon or num_steps}
        if not searched:
            numbers |= {name: getattr(config, name) for name in (*SCHEDULE, "force_last")}
        measured = forecast.measured(num_steps)
        expected = {name: measured.get(name.removeprefix("expected_"), {}).get("mean", 0.0) for name in expected}
        begun = [sum(plan.num_steps for plan in plans[:number]) for number in range(len(plans))]
        evaluated = [begin + step for begin, plan in zip(begun, plans, strict=True) for step in plan.evaluated]
    for name in ("w", "lam", "window_size", "flex_window"):
        numbers[name] = float(numbers[name])
    return {**used, **expected, **numbers, "evaluated": list(evaluated)}


@cache
def best_schedule(rule: spectrum.CalibratedRule, num_steps: int, evaluations: int) -> tuple[int, ...]:
    """Search once: it takes a second, and a group compares its plan before its pipeline asks for the same."""
    return rule.schedule(num_steps, evaluations)
