"""What a command warns of before it begins: things that will probably disappoint."""

import re
import sys
from collections.abc import Callable
from itertools import chain

from jobs.model.checkpoint import EMBEDDED
from jobs.model.licences import checkpoint_licence, output_terms
from jobs.report.foreign_syntax import foreign_syntax
from jobs.report.idle_options import idle_options
from jobs.report.long_prompts import long_prompts
from jobs.run.calibration import calibration_samples
from jobs.run.run import Run

SHOWN = 10  # words in a warning


def warn(run: Run, count: Callable[[Run], str | None] = long_prompts) -> None:
    """Print what there is to know of how options and prompts were read, and the warnings, a line each, on stderr.

    Args:
        run: what begins.
        count: ``long_prompts``, or what has another process call it.

    Raises:
        BadInput: of long_prompts=error.
    """
    table = run.layout.table
    for note in (*run.notes, *table.notes, calibrates(run)):
        if note:
            print(f"note: {note}", file=sys.stderr)
    about_prompts = (*table.doubts, count(run), foreign_syntax(table), idle_negatives(run), unknown_words(run))
    about_options = (*idle_options(run), unused_calibration(run), foreign_calibration(run))
    for warning in (*about_prompts, licence_of_outputs(run), *about_options):
        if warning:
            print(f"warning: {warning}", file=sys.stderr)


def calibrates(run: Run) -> str | None:
    """Return what there is to know of a run that makes its own calibration, or does not; None where nothing is."""
    forecast = run.forecast
    if forecast is None or (forecast.automatic is None and forecast.calibration):
        return None
    if extra := calibration_samples(run):
        return (
            f"this run calibrates itself first: {extra} samples more than its {run.layout.num_samples:,}, with every "
            "step evaluated, and most of them with forecasts too, to choose and measure these (algo.calibration=none "
            "forecasts as published)"
        )
    if forecast.misfit:
        more = "" if forecast.automatic else " (algo.calibration=auto makes it)"
        return f"forecasts are as published, because {forecast.misfit}{more}"
    return None


def licence_of_outputs(run: Run) -> str | None:
    """Return what the model's licence says of training on its outputs; None where nothing is known to restrict it."""
    terms = output_terms(run.options.model.path, checkpoint_licence(run.checkpoint))
    if terms is None:
        return None
    return f"model {run.options.model.name} is under the {terms.licence}, which says that {terms.says}: {terms.link}"


def foreign_calibration(run: Run) -> str | None:
    """Return a warning that a calibration was made with another checkpoint, as may be meant; None where it was not."""
    if run.forecast is None or run.forecast.calibration is None or run.forecast.automatic:
        return None
    file = run.forecast.calibration
    then = file.read().source.get("model", {})
    if then.get("revision") in (None, run.checkpoint.denoiser_pin):
        return None
    return (
        f"algo.calibration {file.path} was made with model {then['name']}, revision {then['revision']}, and this is "
        f"{run.options.model.name}, revision {run.checkpoint.denoiser_pin}: calibrate this model too, "
        "unless the two checkpoints are closely related"
    )


def unused_calibration(run: Run) -> str | None:
    """Return a warning about samples that a calibration was not made for; None where there are none."""
    if run.forecast is None or run.forecast.calibration is None:
        return None
    file = run.forecast.calibration
    if run.forecast.misfit and run.forecast.automatic:
        return None  # ``calibrates`` says so
    if run.forecast.misfit:
        return (
            f"algo.calibration {file.path} is not used, because {run.forecast.misfit}: "
            "forecasts are those of algo.weights=chebyshev"
        )
    calibration = file.read()
    known = {*calibration.of(run.forecast.target), *map(int, calibration.source.get("parts", {}))}
    own = run.layout.table.settings.get("num_inference_steps", [])
    if others := sorted({run.options.num_inference_steps, *filter(None, own)} - known):
        return (
            f"algo.calibration {file.path} was made for {', '.join(map(str, sorted(known)))} steps: samples of "
            f"{', '.join(map(str, others))} are forecast as with algo.weights=chebyshev"
        )
    return None


def idle_negatives(run: Run) -> str | None:
    """Return a warning about negative prompts without guidance, which do nothing; None where there are none."""
    options, table = run.options, run.layout.table
    own = {name: table.settings.get(name) for name in ("negative_prompt", "guidance_scale")}
    if not options.model.negative_prompts or not any(own.values()):  # of the command line alone: refused
        return None
    idle = [
        index
        for index in range(len(table))
        if (settings := {**vars(run.layout.defaults), **table.own_settings(index)})["negative_prompt"]
        and settings["guidance_scale"] <= 1
    ]
    if not idle:
        return None
    return (
        f"{len(idle):,} of {len(table):,} prompts have a negative prompt that does nothing, because their "
        f"guidance_scale is not above 1, first: {table.where(idle[0])}"
    )


def unknown_words(run: Run) -> str | None:
    """Return a warning about words that an embedded model has never seen; None where there are none."""
    path, table = run.options.model.path, run.layout.table
    if not path.startswith(EMBEDDED):
        return None
    from jobs.model import demo

    known = demo.vocabulary(path.removeprefix(EMBEDDED))
    own = filter(None, table.settings.get("negative_prompt", []))
    texts = chain(table.texts, own, [run.options.negative_prompt])
    unknown = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower())} - known)
    if not unknown:
        return None
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    where = table.path
    if run.options.negative_prompt:
        where += " or negative_prompt"
    return (
        f"{where} has words that model {run.options.model.name} was not trained on and cannot tell apart: "
        f"{', '.join(unknown[:SHOWN])}{more}; it knows {', '.join(sorted(known))}"
    )
