"""What a pipeline's own json files tell that will not work: refused before any weights are read."""

import difflib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import spectrum
from jobs.base.checkpoint_json import read_index, read_json
from jobs.base.errors import BadInput
from jobs.model.kernels import check_kernels, denoiser_classes
from jobs.model.loras import check_parts
from jobs.model.quantization import check_quantization
from jobs.model.sources import REQUIRED, ancestry, is_known, parameters_of
from jobs.options.model import ModelOptions
from jobs.options.schema import Options
from spectrum.denoisers import BESIDE, IN_PIPELINES, spec_named
from spectrum.schedulers import check_scheduler_config, check_step_arguments

# Arguments of a pipeline call that the runner gives, and the option to use instead.
ALWAYS_GIVEN = {
    "prompt": "use prompt_file",
    "generator": "use seed",
    "output_type": "leave it out",
    "return_dict": "leave it out",
    "num_images_per_prompt": "use samples_per_prompt",
    "num_videos_per_prompt": "use samples_per_prompt",
    "height": "use height",
    "width": "use width",
    "num_inference_steps": "use num_inference_steps",
}


def check_pipeline(options: Options, folder: Path | None) -> None:
    """Refuse what the pipeline's class cannot be called with, and what forecasts cannot follow.

    Args:
        options: the run's.
        folder: the checkpoint's; nothing is known of one that is not downloaded yet.

    Raises:
        BadInput: names the option and what to use instead.
    """
    index = read_index(folder) if folder else {}
    name = index.get("_class_name")
    if folder is None or not isinstance(name, str):  # a list names a class of the checkpoint's own
        return
    model = options.model
    for one in (name, *(part[1] for part in index.values() if isinstance(part, list) and part[0] == "diffusers")):
        if not is_known(one):
            raise BadInput(
                f"model.path {model.path} needs {one}, which diffusers {version('diffusers')} does not have: "
                "install a diffusers that has it, or use another model"
            )
    if parameters := parameters_of(name, "__call__"):
        _check_call(name, parameters, model)
        _check_further_arguments(name, parameters, model)
    check_parts(model.loras, [one for one in IN_PIPELINES if one != BESIDE and (index.get(one) or [None])[0]])
    check_kernels(options, denoiser_classes(index))
    check_quantization(model.quantization, index)
    scheduler = model.scheduler or index.get("scheduler", [None, None])[1]
    if scheduler:
        _check_scheduler_args(scheduler, model)
    if options.algo.name == "spectrum":
        if options.algo.target != "output":  # which any denoiser has
            _check_denoisers(index, model)
        if scheduler:
            _check_scheduler(scheduler, read_json(folder / "scheduler" / "scheduler_config.json"), model)


def _check_call(name: str, parameters: Mapping[str, Any], model: ModelOptions) -> None:
    """Compare what each call will be given with what the pipeline takes."""
    needs = [one for one, default in parameters.items() if default is REQUIRED and one not in model.call]
    needs = [one for one in needs if one != "prompt"]
    if needs or "prompt" not in parameters:
        what = f"needs {' and '.join(needs)}" if needs else "takes no prompt"
        raise BadInput(
            f"model.path {model.path} is a {name}, which {what}: use a pipeline that makes images or clips from prompts"
        )
    if model.guidance_argument not in parameters:
        takes = [one for one in parameters if one.endswith(("guidance_scale", "cfg_scale"))]
        instead = f"set it to {' or '.join(takes)}" if takes else "use another model"
        raise BadInput(f"model.guidance_argument={model.guidance_argument} is no argument of {name}: {instead}")
    if model.negative_prompts and "negative_prompt" not in parameters:
        raise BadInput(f"model.negative_prompts=true, and {name} takes none: set model.negative_prompts=false")
    if model.fps is not None and "num_frames" not in parameters:
        raise BadInput(
            f"model.fps={model.fps} is for clips, and {name} takes no num_frames: leave model.fps and "
            "model.frame_step out, or use another model"
        )
    if model.fps is None and "num_frames" in parameters:
        raise BadInput(f"{name} makes clips: give model.fps and model.frame_step, such as model.fps=16")
    for one in ("height", "width", "num_inference_steps"):
        if one not in parameters:
            raise BadInput(f"model.path {model.path} is a {name}, which takes no {one}: use another model")


def _check_further_arguments(name: str, parameters: Mapping[str, Any], model: ModelOptions) -> None:
    given = {**ALWAYS_GIVEN, model.guidance_argument: "use guidance_scale"}
    given |= {"negative_prompt": "use negative_prompt"} if model.negative_prompts else {}
    given |= {"num_frames": "use num_frames"} if model.fps is not None else {}
    for one in model.call:
        if one in given:
            raise BadInput(f"model.call.{one} is given to each call by the runner: {given[one]}")
        if one not in parameters:
            free = [other for other in parameters if other not in given]
            raise BadInput(f"model.call.{one} is no argument of {name}: {_nearest(one, free)}")


def _check_scheduler_args(scheduler: str, model: ModelOptions) -> None:
    parameters = parameters_of(scheduler, "__init__")
    for one in model.scheduler_args:
        if parameters is not None and one not in parameters:
            raise BadInput(f"model.scheduler_args.{one} is no option of {scheduler}: {_nearest(one, parameters)}")


def _check_denoisers(index: dict[str, Any], model: ModelOptions) -> None:
    for name in denoiser_classes(index):
        try:
            spec_named(ancestry(name))
        except spectrum.SpectrumError as error:
            raise BadInput(
                f"algo=spectrum cannot be used with model {model.name}: {error} (algo.target=output, or algo=nocache)"
            ) from None


def _check_scheduler(scheduler: str, config: dict[str, Any], model: ModelOptions) -> None:
    """Ask Spectrum what it would say of the scheduler that the checkpoint and the options make."""
    config = {**config, **model.scheduler_args}
    problem = _problem(scheduler, config, model.call)
    if problem is None:
        return
    flow = "FlowMatch" in scheduler or config.get("prediction_type") == "flow_prediction"
    other = "FlowMatchEulerDiscreteScheduler" if flow else "DDIMScheduler"
    if _problem(other, config, model.call):  # an option makes the noise, not the class
        mend = "+model.scheduler_args.OPTION=value sets another, and algo=nocache follows any"
    else:
        mend = f"model.scheduler={other} can be followed, and algo=nocache follows any"
    raise BadInput(f"algo=spectrum cannot be used with model {model.name}: {problem} ({mend})")


def _problem(scheduler: str, config: dict[str, Any], call: dict[str, Any]) -> str | None:
    """Return why Spectrum cannot follow a scheduler, which takes its own options from those of another."""
    names = ancestry(scheduler)
    takes, steps = parameters_of(scheduler, "__init__"), parameters_of(scheduler, "step")
    if takes is None or steps is None:  # not of diffusers
        return None
    try:
        check_scheduler_config(names, {one: value for one, value in config.items() if one in takes})
        check_step_arguments(scheduler, {one: value for one, value in call.items() if one in steps})
    except spectrum.SpectrumError as error:
        return str(error)
    return None


def _nearest(name: str, parameters: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(parameters), 1)
    return f"did you mean {close[0]}?" if close else f"it takes {', '.join(parameters)}"
