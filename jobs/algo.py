"""From an algo config to what ``spectrum.attach`` takes: options, a rule for the weights, a schedule. No torch here."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import spectrum
from jobs import demo
from jobs.errors import BadInput
from jobs.weights import EMBEDDED

# What the runner adds to the options of the method.
RUNNER_KEYS = ("weights", "calibration", "schedule", "evaluations")
# The numbers of the published form: whoever gives one wants that form.
FORM_KEYS = ("w", "lam", "m", "horizon", "force_last")


def with_defaults(algo: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """Fill in what an algo config leaves open (null), as far as there is something to fill in.

    The embedded models come with a calibration, which is used unless the published form is asked for, by
    ``algo.weights=chebyshev`` or by one of its numbers. Calibrated weights go with a searched schedule.

    Args:
        algo: the algo config as given.
        model: the model config.
    """
    if algo.get("name") != "spectrum":
        return algo
    filled = dict(algo)
    published = spectrum.SpectrumConfig()
    for name in FORM_KEYS:
        if algo.get(name) is None:
            filled[name] = getattr(published, name)
    own = own_calibration(model)
    if algo.get("weights") is None:
        asked_for = any(algo.get(name) is not None for name in FORM_KEYS)
        calibrated = algo.get("calibration") is not None or (own and not asked_for)
        filled["weights"] = "calibrated" if calibrated else "chebyshev"
    if filled["weights"] == "calibrated" and algo.get("calibration") is None:
        filled["calibration"] = own
    if algo.get("schedule") is None:
        filled["schedule"] = "searched" if filled["weights"] == "calibrated" else "window"
    return filled


def own_calibration(model: dict[str, Any]) -> str | None:
    """The file that an embedded model comes with; None for a model that comes with none."""
    name = model["path"].removeprefix(EMBEDDED)
    path = demo.HERE / f"{name}-calibration.json"
    return str(path) if name != model["path"] and path.exists() else None


@dataclass(frozen=True)
class CalibratedOrPublished:
    """Calibrated weights for the step counts that were calibrated, the Chebyshev form's for all others."""

    calibrated: spectrum.CalibratedRule
    published: spectrum.ChebyshevRule

    def fits(self, num_steps: int) -> bool:
        """Whether the calibration has that number of steps."""
        return num_steps in self.calibrated.calibration.grams

    def weights(self, evaluated_before: Sequence[int], step: int, num_steps: int) -> np.ndarray:
        """See ``spectrum.ForecastRule``."""
        rule = self.calibrated if self.fits(num_steps) else self.published
        return rule.weights(evaluated_before, step, num_steps)

    def describe(self) -> str:
        """Names both rules, their numbers and the calibration."""
        return f"{self.calibrated.describe()}, else {self.published.describe()}"


@dataclass(frozen=True)
class Forecasting:
    """What ``spectrum.attach`` takes; None stands for its defaults."""

    config: spectrum.SpectrumConfig
    rule: CalibratedOrPublished | None = None
    schedule: Callable[[int], Sequence[int]] | None = None

    def plan(self, num_steps: int) -> spectrum.Plan:
        """What happens in a trajectory of so many steps."""
        evaluated = self.schedule(num_steps) if self.schedule else None
        return spectrum.Plan.build(num_steps, self.config, self.rule, evaluated)


def forecasting(algo: dict[str, Any], model: dict[str, Any], folder: Path | None) -> Forecasting:
    """Build it from a checked algo config.

    A calibration that was made with another scheduler is left aside (``calibration_misfit`` says why).

    Args:
        algo: the algo config, of ``spectrum``.
        model: the model config.
        folder: the model's directory; None where it is not downloaded.
    """
    names = {field.name for field in fields(spectrum.SpectrumConfig)}
    config = spectrum.SpectrumConfig(**{name: value for name, value in algo.items() if name in names})
    if algo["weights"] == "chebyshev" or calibration_misfit(algo, model, folder):
        return Forecasting(config)
    calibrated = spectrum.CalibratedRule(read_calibration(algo["calibration"]))
    rule = CalibratedOrPublished(calibrated, config.rule())
    if algo["schedule"] == "window":
        return Forecasting(config, rule)

    def searched(num_steps: int) -> Sequence[int]:
        window = config.evaluated_steps(num_steps)
        if not rule.fits(num_steps):
            return window
        return _best_schedule(calibrated, num_steps, min(algo["evaluations"] or len(window), num_steps))

    return Forecasting(config, rule, searched)


@cache
def _best_schedule(rule: spectrum.CalibratedRule, num_steps: int, evaluations: int) -> tuple[int, ...]:
    """The search takes a second; a group compares its plan before its pipeline asks for the same."""
    return rule.schedule(num_steps, evaluations)


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
            f"algo.calibration {path} cannot be read ({error.strerror}): make it with python -m tools.calibrate"
        ) from None
    except spectrum.SpectrumError as error:
        raise BadInput(f"algo.calibration: {str(error).rstrip('.')}") from None


@cache
def _read(file: Path, changed: int) -> spectrum.Calibration:
    return spectrum.Calibration.load(file)


def calibration_misfit(algo: dict[str, Any], model: dict[str, Any], folder: Path | None) -> str | None:
    """How the scheduler differs from the one that the calibration was made with; None where it does not."""
    if algo.get("weights") != "calibrated" or folder is None:
        return None
    try:
        now = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    except OSError:
        now = {}
    now = {**now, **model["scheduler_args"]}
    now["_class_name"] = model["scheduler"] or now.get("_class_name")
    source = read_calibration(algo["calibration"]).source
    then = {**source["scheduler_config"], "_class_name": source["scheduler"]}
    for name in sorted(now.keys() & then.keys()):
        private = name.startswith("_") and name != "_class_name"
        if now[name] != then[name] and not private:
            what = "the scheduler" if name == "_class_name" else f"its scheduler's {name}"
            return f"{what} was {then[name]} and is {now[name]}"
    return None
