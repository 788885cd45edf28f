"""What of the options and the prompt file the model cannot do: a user's mistakes get one sentence each."""

from dataclasses import replace

from jobs.base.errors import BadInput
from jobs.dataset.prompts import PromptTable
from jobs.model.sources import ancestry
from jobs.options.model import ModelOptions
from jobs.options.schema import Options
from jobs.parallel.limits import Size, check_divides


def check_model(model: ModelOptions) -> None:
    """Check what belongs together in a model's options.

    Raises:
        BadInput: names the options.
    """
    if (model.fps is None) != (model.frame_step is None):
        raise BadInput("model.fps and model.frame_step belong together: give both for clips, or null for images")
    if model.scheduler is not None and "SchedulerMixin" not in ancestry(model.scheduler):
        raise BadInput(
            f"model.scheduler={model.scheduler} is not a scheduler of diffusers: "
            "give a class name such as FlowMatchEulerDiscreteScheduler, or null"
        )


def check_size(axis: str, pixels: int, model: ModelOptions, where: str = "") -> None:
    """Refuse a size the model's autoencoder and patches cannot divide.

    Raises:
        BadInput: names the nearest sizes that work.
    """
    multiple = model.size_multiple
    if pixels % multiple:
        below = max(pixels // multiple, 1) * multiple
        raise BadInput(
            f"{where}{axis}={pixels} does not fit model {model.name}: it must be a multiple of {multiple}, "
            f"such as {below} or {below + multiple}"
        )


def check_frames(num_frames: int, model: ModelOptions, where: str = "") -> None:
    """Refuse a number of frames the model's autoencoder cannot divide, or frames of a model that makes images.

    Raises:
        BadInput: names the nearest numbers that work.
    """
    step = model.frame_step
    if model.fps is None and num_frames != 1:
        raise BadInput(
            f"{where}num_frames={num_frames} does not fit model {model.name}, which makes images: leave it out"
        )
    if step is not None and (num_frames - 1) % step:
        below = (num_frames - 1) // step * step + 1
        raise BadInput(
            f"{where}num_frames={num_frames} does not fit model {model.name}: it must be a multiple of {step} "
            f"plus 1, such as {below} or {below + step}"
        )


def check_table(table: PromptTable, options: Options) -> None:
    """Refuse what the prompts of a file set for themselves and the model cannot do.

    Raises:
        BadInput: names the line.
    """
    model = options.model
    for axis in ("height", "width"):
        for index, pixels in enumerate(table.settings.get(axis, [])):
            if pixels is not None:
                check_size(axis, pixels, model, f"{table.where(index)}: ")
    for index, num_frames in enumerate(table.settings.get("num_frames", [])):
        if num_frames is not None:
            check_frames(num_frames, model, f"{table.where(index)}: ")
    if options.parallel.sequence > 1:
        _check_shared_sizes(table, options)
    if not model.negative_prompts and any(table.settings.get("negative_prompt", [])):
        raise BadInput(
            f"{table.path} has negative prompts, which model {model.name} does not support: "
            "remove the column, or keep it as columns={negative_prompt: metadata}"
        )


def _check_shared_sizes(table: PromptTable, options: Options) -> None:
    default = Size(options.height, options.width, options.num_frames)
    own = {name: table.settings[name] for name in vars(default) if name in table.settings}
    for index in range(len(table) if own else 0):
        size = replace(default, **{name: given[index] for name, given in own.items() if given[index] is not None})
        check_divides(size, options.model, options.parallel, f"{table.where(index)}: ")
