"""A run's own calibration: whether it makes one, of which samples, and its file in the run's directory.

The samples are some of the run's own, made with every step evaluated (``jobs.execute.calibration``). What they decide
is in the run's identity as "auto" and the settings they follow from: the contents are not known when the run begins.
"""

import hashlib
import itertools
import json
import math
from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import Any

import spectrum
from jobs.base.errors import BadInput
from jobs.dataset.layout import Layout, Sample
from jobs.model import calibration_cache
from jobs.model.calibration_file import CalibrationFile
from jobs.model.checkpoint import Checkpoint
from jobs.model.environment import versions
from jobs.model.forecast import Forecast
from jobs.options.model import SampleOptions
from jobs.options.schema import SCHEDULE, Options
from jobs.run.growth import is_untouched
from jobs.run.run import Run
from jobs.store.rundir import RunDir

SHARE = 10  # a run calibrates itself if it has so many times the samples; they are among its first so many
_PARTS = 2  # what a part holds; those of an earlier version are made again
_DECIDE = [one.name for one in fields(SampleOptions) if one.metadata["shared_by_batch"]]


@dataclass(frozen=True)
class Chosen:
    """The samples that a calibration for one number of steps is made from."""

    recorded: list[Sample]
    held: list[Sample]


def samples_needed(recorded: int) -> int:
    """Return how many samples a calibration takes in all: to half as many it is applied, to measure what it brings."""
    return recorded + max(1, recorded // 2)


def choose_samples(layout: Layout, recorded: int) -> dict[int, Chosen]:
    """Choose samples for each number of steps that the run has: spread over its first ones, so that it may grow.

    Numbers of steps with too few samples are left out, unless there are no others.

    Args:
        layout: the run's samples.
        recorded: how many to record for each number of steps.

    Returns:
        Number of steps -> its samples.
    """
    needed = samples_needed(recorded)
    by_steps = _prompts_by_steps(layout)
    chosen = {}
    for steps in _worthwhile(layout, recorded) or sorted(by_steps):
        prompts = by_steps[steps]
        pool = min(len(prompts) * layout.began_with, SHARE * needed)
        places = sorted({pool * number // needed for number in range(needed)})
        samples = []
        for place in places:
            prompt, repeat = divmod(place, layout.began_with)
            samples.append(layout.sample(layout.numbering.of(prompts[prompt], repeat)))
        held = _kept_apart(len(samples), recorded)
        apart = {len(samples) * (2 * number + 1) // (2 * held) for number in range(held)}
        chosen[steps] = Chosen(
            [one for number, one in enumerate(samples) if number not in apart],
            [one for number, one in enumerate(samples) if number in apart],
        )
    return chosen


def calibration_samples(run: Run) -> int:
    """Return how many samples a run has still to make for its own calibration; 0 where it makes none."""
    if run.forecast is None or not run.forecast.pending or run.forecast.automatic is None:
        return 0
    chosen = choose_samples(run.layout, run.forecast.automatic.samples)
    return sum(len(each.recorded) + len(each.held) for each in chosen.values())


def _kept_apart(samples: int, recorded: int) -> int:
    """Return how many of these samples the calibration is measured on, where so many would be recorded of enough."""
    return samples - min(recorded, math.ceil(samples * recorded / samples_needed(recorded)))


def _worthwhile(layout: Layout, recorded: int) -> list[int]:
    """Return the numbers of steps that have samples enough."""
    least = SHARE * samples_needed(recorded)
    counts = {steps: len(prompts) * layout.began_with for steps, prompts in _prompts_by_steps(layout).items()}
    return sorted(steps for steps, count in counts.items() if count >= least)


def _prompts_by_steps(layout: Layout) -> dict[int, Any]:
    """Return number of steps -> indices of its prompts."""
    default, own = layout.defaults.num_inference_steps, layout.table.settings.get("num_inference_steps")
    if own is None:
        return {default: range(len(layout.table))}
    found: dict[int, list[int]] = defaultdict(list)
    for prompt, steps in enumerate(own):
        found[default if steps is None else steps].append(prompt)
    return found


def settle(
    forecast: Forecast | None,
    options: Options,
    checkpoint: Checkpoint,
    layout: Layout,
    directory: RunDir,
    record: dict[str, Any],
) -> Forecast | None:
    """Decide whether a run that could make its own calibration does, and find the one that it made.

    Where the user said nothing, a run goes on as it began; a new one calibrates itself if it is large enough.

    Args:
        forecast: what the options ask for.
        options: the run's.
        checkpoint: the run's.
        layout: its samples.
        directory: where it lies.
        record: what the directory says of it, if it has begun and this is to go on with it.

    Raises:
        BadInput: the run's calibration was exchanged; no number of evaluations has the quality that is asked for, as
            this run found out before; or the run has too few samples to measure it.
    """
    if forecast is None or forecast.automatic is None:
        return forecast
    if not forecast.automatic.asked:
        published = Forecast(forecast.config, target=forecast.target)
        began = record.get("identity", {}).get("algo")
        if began == {name: value for name, value in published.described().items() if name not in SCHEDULE}:
            return published
        if not (began and began.get("calibration") == "auto"):
            if all(_evaluates_all(forecast, steps) for steps in _prompts_by_steps(layout)):
                return published
            if not _worthwhile(layout, forecast.automatic.samples):
                least = SHARE * samples_needed(forecast.automatic.samples)
                return replace(published, misfit=f"a run of fewer than {least} samples does not calibrate itself")
    key, shared = calibration_key(options, checkpoint, forecast, layout)
    settled = with_calibration(forecast, key, checkpoint, directory, record)
    if settled.pending and forecast.automatic.quality is not None:
        chosen = choose_samples(layout, forecast.automatic.samples)
        if said := directory.out_of_reach(parts_key(key, checkpoint, chosen), forecast.automatic.quality):
            raise BadInput(said.read_text())
        cached = calibration_cache.find(key) if shared and not record else None
        if not (cached and is_measured(cached, forecast, checkpoint, layout.defaults.num_inference_steps)):
            _check_measurable(chosen, forecast.automatic.samples)
    return settled


def _check_measurable(chosen: dict[int, Chosen], recorded: int) -> None:
    for steps, each in chosen.items():
        if not each.held:
            least = next(samples for samples in itertools.count(1) if _kept_apart(samples, recorded))
            raise BadInput(
                f"algo.quality is measured on samples that are kept apart, and of those with {steps} steps this run "
                f"has {len(each.recorded)}: make at least {least}, or give algo.evaluations instead"
            )


def _evaluates_all(forecast: Forecast, steps: int) -> bool:
    return len(forecast.config.evaluated_steps(steps)) == steps


def with_calibration(
    forecast: Forecast, key: str, checkpoint: Checkpoint, directory: RunDir, record: dict[str, Any]
) -> Forecast:
    """Return the forecast with the calibration that is in the run's directory; as it is where there is none.

    Raises:
        BadInput: it is not the one that the run's samples were made with.
    """
    if not directory.calibration.exists():
        return forecast
    file = CalibrationFile.find(str(directory.calibration))
    calibration = file.read()
    # Of another run, which was given up before it had made a sample. Once there are samples it is theirs, whatever an
    # earlier version called it: with other options they are refused elsewhere.
    measured = [int(steps) for steps in calibration.source.get("quality", {})]
    own = all(is_measured(calibration, forecast, checkpoint, steps) for steps in measured)
    if not (own and calibration.source.get("key") == key) and is_untouched(directory):
        return forecast
    if record.get("calibration") not in (None, "", file.digest):
        raise BadInput(
            f"{directory.calibration} is not the calibration that this run began with: restore it, "
            "or use another exp_name"
        )
    return replace(forecast, calibration=file, misfit=calibration.source.get("impossible"))


def _is_decoded_by(calibration: spectrum.Calibration, checkpoint: Checkpoint) -> bool:
    """Return whether what a calibration brings was measured on pictures of the checkpoint's autoencoder, if at all."""
    return all(one.get("vae") == checkpoint.vae_pin for one in calibration.source.get("quality", {}).values())


def is_measured(calibration: spectrum.Calibration, forecast: Forecast, checkpoint: Checkpoint, steps: int) -> bool:
    """Return whether a calibration that another run made says what this one asks of it."""
    assert forecast.automatic
    measured = calibration.source.get("quality", {}).get(str(steps), {})
    wanted = {
        "asked": forecast.automatic.quality,
        "schedule": "searched" if forecast.searched else "window",
        "count": forecast.count(steps),
    }
    if forecast.automatic.quality is not None:
        del wanted["count"]  # it was found
    same = all(measured.get(name) == value for name, value in wanted.items())
    return same and _is_decoded_by(calibration, checkpoint)


def calibration_key(options: Options, checkpoint: Checkpoint, forecast: Forecast, layout: Layout) -> tuple[str, bool]:
    """Name what decides a calibration, beside the prompts that it is made from.

    Returns:
        16 hexadecimal digits, and whether other runs of that name can use it: not where prompts set for themselves
        what it depends on.
    """
    model, defaults = options.model, layout.defaults
    names = ("dtype", "scheduler", "scheduler_args", "guidance_argument", "negative_prompts", "call")
    # What changes the weights, where anything does. Last bits, as of model.drop_padding, are far below what forecasts
    # differ from features by.
    changed = {name: value for name in ("variant", "quantization", "fuse_loras") if (value := getattr(model, name))}
    loras = {"loras": [one.described() for one in checkpoint.loras]} if checkpoint.loras else {}
    own = {name: values for name, values in layout.table.settings.items() if name in _DECIDE}
    decides = {
        "checkpoint": ["" if checkpoint.local else checkpoint.path, checkpoint.denoiser_pin],
        "model": {**{name: getattr(model, name) for name in names}, **changed, **loras},
        "target": forecast.target,
        "samples": forecast.automatic.samples if forecast.automatic else 0,
        "steps": defaults.num_inference_steps,
        "guidance": defaults.guidance_scale,
        # Schedulers may shift with the size: to the next power of two.
        "size": round(math.log2(defaults.height * defaults.width * defaults.num_frames)),
        "own": own,
    }
    return _digest(decides), not own


def parts_key(key: str, checkpoint: Checkpoint, chosen: dict[int, Chosen]) -> str:
    """Name what decides the parts of a calibration in the making: the samples too, and what decodes them."""
    samples = [[one.prompt, one.seed, vars(one.options)] for each in chosen.values() for one in each.recorded]
    held = [[one.prompt, one.seed, vars(one.options)] for each in chosen.values() for one in each.held]
    return _digest([_PARTS, key, samples, held, *filter(None, [checkpoint.vae_pin])])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def source_of(run: Run) -> dict[str, Any]:
    """Return what decides the features, for a calibration's file."""
    options, layout = run.options, run.layout
    names = ("name", "path", "dtype", "scheduler", "scheduler_args", "call")
    model = {name: getattr(options.model, name) for name in names}
    return {
        "model": {**model, "revision": run.checkpoint.denoiser_pin},
        "prompts": {"sha256": layout.table.digest(len(layout.table)), "count": len(layout.table)},
        "settings": {name: value for name, value in vars(layout.defaults).items() if name != "num_inference_steps"},
        "seed": options.seed,
        "versions": versions(run.makes_clips),
    }
