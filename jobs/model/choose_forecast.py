"""Chooses how a run forecasts, from its options and its model."""

from dataclasses import fields
from typing import NoReturn

import spectrum
from jobs.base.errors import BadInput
from jobs.model import demo
from jobs.model.calibration_file import CalibrationFile, misfit_of, read_calibration
from jobs.model.checkpoint import EMBEDDED, Checkpoint
from jobs.model.forecast import FORM, Automatic, Forecast
from jobs.options.model import ModelOptions
from jobs.options.schema import SCHEDULE, AlgoOptions, Options

AUTO, NONE = "auto", "none"  # what algo.calibration may be instead of a file


def resolve_forecast(options: Options, checkpoint: Checkpoint) -> Forecast | None:
    """Decide how steps are forecast; None for the plain pipeline.

    Calibrated coefficients, and a searched schedule with them, are used unless the published form is asked for:
    by ``algo.calibration=none``, by ``algo.weights=chebyshev`` or by one of that form's numbers. The embedded models
    come with a calibration, and runs of other models make theirs (``jobs.run.calibration`` knows which are too small).

    Raises:
        BadInput: options that do not go together or are out of range, or a calibration that cannot be read.
    """
    algo = options.algo
    if algo.name == "nocache":
        _refuse_spectrum_options(algo)
        return None
    config, target = _published_form(options), algo.target or "features"
    _check_together(algo)
    automatic = _automatic(options)
    if automatic:
        searched = algo.schedule != "window"
        return Forecast(config, None, None, searched, algo.evaluations, target, automatic)
    given = algo.calibration not in (None, NONE)
    path = algo.calibration if given else own_calibration(options.model, target)
    published = algo.calibration == NONE or algo.weights == "chebyshev" or (_asks_for_form(algo) and not given)
    if path is None or (published and algo.weights != "calibrated"):
        _refuse_search(algo)
        return Forecast(config, target=target)
    calibration = CalibrationFile.find(path)
    if not calibration.read().of(target):
        raise BadInput(
            f"algo.calibration {path} has nothing of algo.target={target}: make it again with python -m jobs.calibrate"
        )
    misfit = misfit_of(calibration.read(), options.model, checkpoint.folder)
    return Forecast(config, calibration, misfit, algo.schedule != "window", algo.evaluations, target)


def _automatic(options: Options) -> Automatic | None:
    """Return what is asked of a run that makes its own calibration; None for a run that does not."""
    algo = options.algo
    asked = Automatic(algo.calibration_prompts or Automatic.samples, asked=True, quality=algo.quality)
    if algo.calibration == AUTO:
        return asked
    if algo.calibration is not None or algo.weights == "chebyshev":
        return None
    if (algo.calibration_prompts is not None or algo.quality is not None) and not _asks_for_form(algo):
        return asked
    if own_calibration(options.model, algo.target or "features"):
        return None
    needs = algo.schedule == "searched" or algo.evaluations is not None
    if algo.weights == "calibrated" or (needs and not _asks_for_form(algo)):
        return asked
    as_published = any(getattr(options, name) != getattr(Options, name) for name in SCHEDULE)
    if _asks_for_form(algo) or as_published or algo.schedule == "window" or own_calibration(options.model):
        return None
    return Automatic(asked.samples)


def _asks_for_form(algo: AlgoOptions) -> bool:
    return any(getattr(algo, name) is not None for name in FORM)


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


def _check_together(algo: AlgoOptions) -> None:
    if algo.calibration == NONE and algo.weights == "calibrated":
        raise BadInput("algo.weights=calibrated has nothing to go by with algo.calibration=none: leave one of them out")
    if algo.calibration not in (None, NONE) and algo.weights == "chebyshev":
        raise BadInput("algo.calibration is used by algo.weights=calibrated only: add that, or leave it out")
    if algo.calibration not in (None, AUTO) or algo.weights == "chebyshev":
        _refuse_own(algo)
    if algo.quality is not None and (algo.schedule == "window" or algo.evaluations is not None):
        other = "algo.schedule=window" if algo.schedule == "window" else f"algo.evaluations={algo.evaluations}"
        raise BadInput(f"algo.quality chooses the number of evaluations itself: leave {other} out, or algo.quality")
    if algo.evaluations is not None and algo.schedule == "window":
        _refuse_evaluations()


def _refuse_search(algo: AlgoOptions) -> None:
    """Refuse what only a calibration gives."""
    if algo.schedule == "searched":
        raise BadInput("algo.schedule=searched needs algo.weights=calibrated: add that, or leave it out")
    if algo.evaluations is not None:
        _refuse_evaluations()
    _refuse_own(algo)


def _refuse_own(algo: AlgoOptions) -> None:
    """Refuse what only a run's own calibration has."""
    for name in ("calibration_prompts", "quality"):
        if getattr(algo, name) is not None:
            raise BadInput(f"algo.{name} belongs to algo.calibration=auto: add that, or leave it out")


def _refuse_evaluations() -> NoReturn:
    raise BadInput("algo.evaluations belongs to algo.schedule=searched: add that, or set flex_window instead")
