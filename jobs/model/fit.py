"""Whether weights from elsewhere are of a model's size, as far as the shapes in their headers tell.

What is named otherwise than diffusers names it is left to diffusers, in the worker.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobs.base.checkpoint_json import read_json
from jobs.base.errors import BadInput
from jobs.model.checkpoint import Checkpoint
from jobs.model.files import SAFETENSORS, read_header
from jobs.model.loras import Lora
from jobs.model.parts import Part
from jobs.model.stored import stored_files
from spectrum.denoisers import BESIDE, IN_PIPELINES

Shapes = Mapping[str, tuple[int, ...]]

_CHANNELS = ("latent_channels", "z_dim")  # of latents, as autoencoders' configurations have it
_FROM_LATENTS = re.compile(r"(?:^|\.)decoder\.conv_in\.weight$")  # (C, channels, 3, 3), by either kind of names
# The first (rank, in) or second (out, rank) matrix of a layer, by diffusers' names and by those of sd-scripts.
_MATRIX = re.compile(
    r"^(unet\.|transformer\.|lora_unet_)(.+?)[._]lora(?:_(A|B)|[._](?:linear_layer\.)?(down|up))\.weight$"
)
_JUDGED = re.compile(r"attn|transformer_blocks")  # not what enters a model, which LoRAs for control images widen


def check_sizes(checkpoint: Checkpoint) -> None:
    """Refuse an autoencoder for other latents than the model's, and LoRAs for a model of another size.

    Args:
        checkpoint: whose files are read as far as they are there.

    Raises:
        BadInput: names the option.
    """
    if checkpoint.folder is None:
        return
    for part in checkpoint.parts:
        if part.name == "vae" and part.place:
            _check_latents(part, part.place, checkpoint.folder)
    if checkpoint.single:
        return
    elsewhere = {part.name: part.place for part in checkpoint.parts}
    has = [name for name in IN_PIPELINES if name != BESIDE and (checkpoint.folder / name).is_dir()]
    for lora in checkpoint.loras:
        weights = read_header("model.loras:", lora.path)
        other = {"unet", "transformer"} - {*has}
        if has and other and any(key.partition(".")[0] in other for key in weights):
            raise BadInput(
                f"model.loras: {lora.path} is for a {other.pop()}, and the model has a {has[0]}: use one made for it"
            )
        for name in has:
            if name not in elsewhere and lora.into in (None, name):
                model = _shapes_in(checkpoint.folder / name, checkpoint.variant)
                _check_lora(lora, weights, model)


def _check_latents(part: Part, place: Path, folder: Path) -> None:
    own = _channels_in(folder / "vae")
    if part.is_file:
        shapes = read_header(f"model.{part.name}", place) if place.suffix == SAFETENSORS else {}
        given = next((shape[1] for name, shape in shapes.items() if _FROM_LATENTS.search(name)), None)
    else:
        given = _channels_in(place)
    if own and given and own != given:
        raise BadInput(f"{part.option} is for latents of {given} channels, and the model's have {own}: give another")


def _channels_in(folder: Path) -> int | None:
    config = read_json(folder / "config.json")
    return next((config[one] for one in _CHANNELS if isinstance(config.get(one), int)), None)


def _check_lora(lora: Lora, weights: Shapes, model: Shapes) -> None:
    for name, first, size in _sizes_in(weights):
        shape = model.get(name)
        if shape is None or len(shape) != 2 or not _JUDGED.search(name):
            continue
        own = shape[1] if first else shape[0]
        if size > own or (size < own and not first):  # diffusers fills up a first matrix that is too narrow
            side = "inputs" if first else "outputs"
            raise BadInput(
                f"model.loras: {lora.path} is for a model of another size ({name} has {size} {side} in it, and {own} "
                "in the model): use one made for this model"
            )


def _sizes_in(weights: Shapes) -> Iterator[tuple[str, bool, int]]:
    """Yield of each matrix the layer, whether it is the layer's first, and how many inputs or outputs that has."""
    for key, shape in weights.items():
        if (match := _MATRIX.match(key)) and len(shape) == 2:
            first = "A" in match.groups() or "down" in match.groups()
            yield match[2], first, shape[1] if first else shape[0]


def _shapes_in(part: Path, variant: str | None) -> Shapes:
    """Return the shapes of a network's layers, by their names in diffusers and in sd-scripts; none where they tell not.

    Weights that were stored quantised have shapes of their own.
    """
    files = stored_files(part, variant)
    if "quantization_config" in read_json(part / "config.json") or any(file.suffix != SAFETENSORS for file in files):
        return {}
    shapes = {
        name.removesuffix(".weight"): shape
        for file in files
        for name, shape in read_header("model.path", file).items()
        if name.endswith(".weight")
    }
    return {**{name.replace(".", "_"): shape for name, shape in shapes.items()}, **shapes}
