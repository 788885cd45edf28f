"""Checks of single options, and of the model and algo groups: what a user can mend gets one sentence."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from jobs.errors import BadInput

DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "group", "sequential")
MODEL_KEYS = {
    *("name", "path", "revision", "dtype", "vae_dtype", "vae_tiling", "scheduler", "scheduler_args"),
    *("height", "width", "size_multiple", "num_frames", "frame_step", "fps", "batch_size"),
    *("num_inference_steps", "guidance_scale", "guidance_argument", "negative_prompts", "call"),
    *("gpus", "offload", "compile", "feature"),
}
FEATURE_KEYS = {"channels", "pixels", "frames"}
SCHEDULE_KEYS = ("warmup_steps", "window_size", "flex_window")  # root options that conf/algo/*.yaml refer to


def check_keys(given: Iterable[str], wanted: set[str], file: str, prefix: str = "") -> None:
    """Refuse a missing or misspelt key, which would otherwise do nothing, without a word."""
    for name in sorted(wanted.difference(given)):
        raise BadInput(f"{prefix}{name} is missing: give it a value, as {file} does")
    for name in sorted(set(given) - wanted):
        raise BadInput(no_such_option(f"{prefix}{name}", [f"{prefix}{known}" for known in wanted]))


def check_model(model: dict[str, Any]) -> None:
    """Check a model config, all but its sizes."""
    check_keys(model, MODEL_KEYS, "conf/model/demo.yaml", "model.")
    one_of("model.dtype", model["dtype"], DTYPES)
    if model["vae_dtype"] is not None:
        one_of("model.vae_dtype", model["vae_dtype"], DTYPES)
    one_of("model.offload", model["offload"], OFFLOADS)
    for name in ("name", "path", "guidance_argument"):
        model[name] = text(f"model.{name}", model[name])
    if model["revision"] is not None:
        model["revision"] = text("model.revision", model["revision"])
    for name in ("size_multiple", "batch_size"):
        whole(f"model.{name}", model[name], 1)
    for name in ("fps", "frame_step"):
        whole(f"model.{name}", model[name], 1, optional=True)
    if (model["fps"] is None) != (model["frame_step"] is None):
        raise BadInput("model.fps and model.frame_step belong together: give both for clips, or null for pictures")
    if model["vae_dtype"] not in (None, model["dtype"]) and model["fps"] is None:
        raise BadInput(
            f"model.vae_dtype={model['vae_dtype']} cannot differ from model.dtype here: pipelines that make pictures "
            "do not convert what they hand to the autoencoder; leave it out"
        )
    whole("model.gpus", model["gpus"], 0)
    for name in ("negative_prompts", "vae_tiling", "compile"):
        boolean(f"model.{name}", model[name])
    for name in ("scheduler_args", "call", "feature"):
        if not isinstance(model[name], dict):
            raise BadInput(f"model.{name} must be a mapping like {{name: value}}, not {shown(model[name])}")
    check_keys(model["feature"], FEATURE_KEYS, "conf/model/demo.yaml", "model.feature.")
    for name in sorted(FEATURE_KEYS):
        whole(f"model.feature.{name}", model["feature"][name], 1)
    if model["scheduler"] is not None:
        import diffusers

        if not str(model["scheduler"]).endswith("Scheduler") or not hasattr(diffusers, str(model["scheduler"])):
            raise BadInput(
                f"model.scheduler={model['scheduler']} is not a scheduler of diffusers: "
                "give a class name such as FlowMatchEulerDiscreteScheduler, or null"
            )


def checked_algo(algo: dict[str, Any]) -> dict[str, Any]:
    """The algorithm's options in their own types, so that w=1 and w=1.0 are the same run."""
    one_of("algo.name", algo.get("name"), ("nocache", "spectrum"))
    if algo["name"] == "nocache":
        check_keys(algo, {"name"}, "conf/algo/nocache.yaml", "algo.")
        return algo
    import spectrum
    from jobs.algo import RUNNER_KEYS, read_calibration

    config = spectrum.SpectrumConfig
    names = {field.name for field in fields(config)}
    check_keys(algo, {"name", *names, *RUNNER_KEYS}, "conf/algo/spectrum.yaml", "algo.")
    one_of("algo.weights", algo["weights"], ("chebyshev", "calibrated"))
    one_of("algo.schedule", algo["schedule"], ("window", "searched"))
    whole("algo.evaluations", algo["evaluations"], 1, optional=True)
    if algo["weights"] == "calibrated":
        if algo["calibration"] is None:
            raise BadInput(
                "algo.weights=calibrated needs algo.calibration=FILE: make one with python -m tools.calibrate"
            )
        read_calibration(text("algo.calibration", algo["calibration"]))
    elif algo["calibration"] is not None:
        raise BadInput("algo.calibration is used by algo.weights=calibrated only: add that, or leave it out")
    if algo["schedule"] == "searched" and algo["weights"] != "calibrated":
        raise BadInput("algo.schedule=searched needs algo.weights=calibrated: add that, or leave it out")
    if algo["schedule"] == "window" and algo["evaluations"] is not None:
        raise BadInput("algo.evaluations belongs to algo.schedule=searched: add that, or set flex_window instead")
    try:
        checked = config(**{name: value for name, value in algo.items() if name in names})
    except spectrum.SpectrumError as error:  # begins with the option's name and ends with a full stop
        sentence = str(error).rstrip(".")
        raise BadInput(sentence if sentence.split()[0] in SCHEDULE_KEYS else f"algo.{sentence}") from None
    real = {field.name for field in fields(config) if field.type is float}
    typed = {name: float(x) if name in real else x for name, x in asdict(checked).items()}
    return {"name": "spectrum", **typed, **{name: algo[name] for name in RUNNER_KEYS}}


def check_size(axis: str, pixels: int, model: dict[str, Any], where: str = "") -> None:
    """Refuse a size the model's autoencoder and patches cannot divide."""
    multiple = model["size_multiple"]
    if pixels % multiple:
        below = max(pixels // multiple, 1) * multiple
        raise BadInput(
            f"{where}{axis}={pixels} does not fit model {model['name']}: it must be a multiple of {multiple}, "
            f"such as {below} or {below + multiple}"
        )


def check_frames(num_frames: int, model: dict[str, Any], where: str = "") -> None:
    """Refuse a number of frames the model's autoencoder cannot divide, or frames of a model that makes pictures."""
    step = model["frame_step"]
    if model["fps"] is None and num_frames != 1:
        raise BadInput(
            f"{where}num_frames={num_frames} does not fit model {model['name']}, which makes pictures: leave it out"
        )
    if step is not None and (num_frames - 1) % step:
        below = (num_frames - 1) // step * step + 1
        raise BadInput(
            f"{where}num_frames={num_frames} does not fit model {model['name']}: it must be a multiple of {step} "
            f"plus 1, such as {below} or {below + step}"
        )


def no_such_option(name: str, known: Iterable[str]) -> str:
    """A sentence about an option that does not exist, with the nearest one that does."""
    close = difflib.get_close_matches(name, known, 1, cutoff=0.7)
    hint = f"did you mean {close[0]}?" if close else "python -m jobs.generate --help lists the options"
    return f"there is no option '{name}': {hint}"


def boolean(name: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise BadInput(f"{name} must be true or false, not {shown(value)}")
    return value


def whole(name: str, value: Any, low: int, high: int | None = None, optional: bool = False) -> Any:
    if optional and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        upper = f" to {high}" if high is not None else " up"
        raise BadInput(f"{name} must be a whole number from {low}{upper}, not {shown(value)}")
    return value


def number(name: str, value: Any, low: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < low:
        raise BadInput(f"{name} must be a number of at least {low}, not {shown(value)}")
    return float(value)


def text(name: str, value: Any) -> str:
    if not isinstance(value, (str, int, float)) or not str(value).strip():
        raise BadInput(f"{name} must be text, not {shown(value)}")
    return str(value)


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadInput(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value, null, true and false as they are written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
