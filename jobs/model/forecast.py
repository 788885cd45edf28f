"""How a run forecasts: from its options to what ``spectrum.attach`` takes. No torch here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import spectrum
from jobs.base.errors import BadInput
from jobs.model import demo
from jobs.model.checkpoint import EMBEDDED, Checkpoint
from jobs.options.schema import SCHEDULE, AlgoOptions, ModelOptions, Options

# The numbers of the published form: whoever gives one wants that form.
FORM = ("w", "lam", "m", "horizon", "force_last")


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration by its place and contents; read when it is needed, so that it need not be sent about.

    Attributes:
        path: as the user gave it.
        digest: 64 hexadecimal digits that name its contents.
    """

    path: str
    digest: str

    @classmethod
    def find(cls, path: str) -> "CalibrationFile":
        """Read a file for the first time.

        Raises:
            BadInput: it is not there, or no calibration.
        """
        return cls(path, read_calibration(path).digest)

    def read(self) -> spectrum.Calibration:
        """Return its contents.

        Raises:
            BadInput: it is gone, or has other contents than it had when the command began.
        """
        calibration = read_calibration(self.path)
        if calibration.digest != self.digest:
            raise BadInput(f"algo.calibration {self.path} was changed since this command began: run the command again")
        return calibration


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

    def describe(self) -> str:
        """Name both rules, their numbers and the calibration."""
        return f"{self.calibrated.describe()}, else {self.published.describe()}"


@dataclass(frozen=True)
class Forecast:
    """How denoising steps are forecast.

    Attributes:
        config: the published form's numbers, and where features are kept.
        calibration: the file of the calibrated coefficients; None: the published form.
        misfit: why that file is not used after all; None where it is.
        searched: whether the evaluated steps are searched with the calibration.
        evaluations: evaluated steps of a searched schedule; None: as many as the window makes.
        target: what is forecast, "features" or "output".
    """

    config: spectrum.SpectrumConfig
    calibration: CalibrationFile | None = None
    misfit: str | None = None
    searched: bool = False
    evaluations: int | None = None
    target: str = "features"

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
            window = self.config.evaluated_steps(num_steps)
            if not rule.fits(num_steps):
                return window
            return _best_schedule(rule.calibrated, num_steps, min(self.evaluations or len(window), num_steps))

        return search

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
            "weights": "calibrated" if self.calibration else "chebyshev",
            "calibration": self.calibration.digest if self.calibration else None,
            "schedule": "searched" if self.searched else "window",
            "evaluations": self.evaluations,
        }


def as_used(forecast: Forecast | None, plan: spectrum.StepPlan | None, num_steps: int) -> dict[str, Any]:
    """Return how the steps of a sample were taken, for its json: the same fields for all, 0 or "" where unused.

    Args:
        forecast: how the run forecasts; None for the plain pipeline.
        plan: what was done; None likewise.
        num_steps: denoising steps of the sample.
    """
    numbers: dict[str, Any] = dict.fromkeys((*FORM, *SCHEDULE), 0)
    used = {"name": "nocache", "target": "", "weights": "", "calibration": "", "schedule": ""}
    evaluated: Sequence[int] = range(num_steps)
    if forecast and plan:
        rule, config = forecast.rule, forecast.config
        calibrated = rule is not None and rule.fits(num_steps)
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
        evaluated = plan.evaluated
    for name in ("w", "lam", "window_size", "flex_window"):
        numbers[name] = float(numbers[name])
    return {**used, **numbers, "evaluated": list(evaluated)}


@cache
def _best_schedule(rule: spectrum.CalibratedRule, num_steps: int, evaluations: int) -> tuple[int, ...]:
    """Search once: it takes a second, and a group compares its plan before its pipeline asks for the same."""
    return rule.schedule(num_steps, evaluations)


def resolve_forecast(options: Options, checkpoint: Checkpoint) -> Forecast | None:
    """Decide how steps are forecast; None for the plain pipeline.

    The embedded models come with a calibration, which is used unless the published form is asked for, by
    ``algo.weights=chebyshev`` or by one of its numbers. Calibrated coefficients go with a searched schedule.

    Raises:
        BadInput: options that do not go together or are out of range, or a calibration that cannot be read.
    """
    algo = options.algo
    if algo.name == "nocache":
        _refuse_spectrum_options(algo)
        return None
    config, target = _published_form(options), algo.target or "features"
    path = algo.calibration or own_calibration(options.model, target)
    calibrated = algo.weights == "calibrated"
    if algo.weights is None:
        asked_for = any(getattr(algo, name) is not None for name in FORM)
        calibrated = algo.calibration is not None or (path is not None and not asked_for)
    _check_together(algo, calibrated, path)
    if not calibrated or path is None:
        return Forecast(config, target=target)
    calibration = CalibrationFile.find(path)
    if not calibration.read().of(target):
        raise BadInput(
            f"algo.calibration {path} has nothing of algo.target={target}: make it again with python -m jobs.calibrate"
        )
    misfit = _misfit(calibration.read(), options.model, checkpoint.folder)
    return Forecast(config, calibration, misfit, algo.schedule != "window", algo.evaluations, target)


def own_calibration(model: ModelOptions, target: str = "features") -> str | None:
    """Return the file that an embedded model comes with; None for a model that comes with none for that target."""
    name = model.path.removeprefix(EMBEDDED)
    path = demo.HERE / f"{name}-calibration.json"
    if name == model.path or not path.exists() or not read_calibration(str(path)).of(target):
        return None
    return str(path)


def _published_form(options: Options) -> spectrum.SpectrumConfig:
    given = {name: getattr(options.algo, name) for name in (*FORM, "history_device")}
    given = {name: value for name, value in given.items() if value is not None}
    given |= {name: getattr(options, name) for name in SCHEDULE}
    try:
        return spectrum.SpectrumConfig(**given)
    except spectrum.SpectrumError as error:
        prefix = "" if error.option in SCHEDULE else "algo."
        raise BadInput(f"{prefix}{error.option} {error.problem}") from None


def _refuse_spectrum_options(algo: AlgoOptions) -> None:
    for field in fields(algo):
        value = getattr(algo, field.name)
        if field.name != "name" and value is not None:
            raise BadInput(
                f"algo.{field.name}={value} is an option of algo=spectrum, and algo=nocache evaluates every step: "
                "leave one of them out"
            )


def _check_together(algo: AlgoOptions, calibrated: bool, path: str | None) -> None:
    if calibrated and path is None:
        raise BadInput("algo.weights=calibrated needs algo.calibration=FILE: make one with python -m jobs.calibrate")
    if not calibrated and algo.calibration is not None:
        raise BadInput("algo.calibration is used by algo.weights=calibrated only: add that, or leave it out")
    if not calibrated and algo.schedule == "searched":
        raise BadInput("algo.schedule=searched needs algo.weights=calibrated: add that, or leave it out")
    if algo.evaluations is not None and (algo.schedule == "window" or not calibrated):
        raise BadInput("algo.evaluations belongs to algo.schedule=searched: add that, or set flex_window instead")


def read_calibration(path: str) -> spectrum.Calibration:
    """Read a calibration file, once as long as it stays the same.

    Raises:
        BadInput: it is not there, or no calibration.
    """
    file = Path(path).expanduser()
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise BadInput(
            f"algo.calibration {path} cannot be read ({error.strerror}): make it with python -m jobs.calibrate"
        ) from None
    except spectrum.SpectrumError as error:
        raise BadInput(f"algo.calibration: {error} (python -m jobs.calibrate makes one)") from None


@cache
def _read(file: Path, changed: int) -> spectrum.Calibration:
    return spectrum.Calibration.load(file)


def _misfit(calibration: spectrum.Calibration, model: ModelOptions, folder: Path | None) -> str | None:
    """Return how the scheduler differs from the one that was calibrated; None where it does not, or is not known."""
    if folder is None:
        return None
    try:
        now = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    except OSError:
        now = {}
    now = {**now, **model.scheduler_args}
    now["_class_name"] = model.scheduler or now.get("_class_name")
    then = {**calibration.source["scheduler_config"], "_class_name": calibration.source["scheduler"]}
    for name in sorted(now.keys() & then.keys()):
        private = name.startswith("_") and name != "_class_name"
        if now[name] != then[name] and not private:
            what = "the scheduler" if name == "_class_name" else f"its scheduler's {name}"
            return f"{what} was {then[name]} and is {now[name]}"
    return None
