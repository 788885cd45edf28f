"""LoRAs: files that change a model's weights a little, each with a scale."""

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput, first_line
from jobs.model.files import read_header

FORM = "[{path: style.safetensors, scale: 0.8}]"
_FIRST = re.compile(r"(lora_A|lora(_linear_layer)?[._]down)\.")  # of a layer's two matrices the first


@dataclass(frozen=True)
class Lora:
    """One LoRA.

    Attributes:
        path: its .safetensors file.
        scale: how much of it is added; 1: as it was trained.
        sha256: hex digest of the file.
        into: of two denoisers that share the steps (Wan2.2), the one it is for; None: there is one.
    """

    path: Path
    scale: float
    sha256: str
    into: str | None = None

    def described(self) -> dict[str, Any]:
        """Return what decides bytes, wherever the file lies."""
        return {"sha256": self.sha256, "scale": self.scale, **({"into": self.into} if self.into else {})}


def read_loras(asked: Any) -> tuple[Lora, ...]:
    """Return the LoRAs of ``model.loras``, with their digests.

    Args:
        asked: a list of mappings with ``path`` and perhaps ``scale`` and ``into``; None: none.

    Raises:
        BadInput: it is written otherwise, a file is missing or torn, or what loads LoRAs is not installed.
    """
    if asked is None or asked == []:
        return ()
    if not isinstance(asked, list) or not all(
        isinstance(one, dict) and {"path"} <= one.keys() <= {"path", "scale", "into"} for one in asked
    ):
        raise BadInput(f"model.loras must be a list like {FORM}, not {asked!r}")
    if find_spec("peft") is None:
        raise BadInput("model.loras needs peft, which is not installed: pip install 'peft>=0.17'")
    return tuple(_read(one) for one in asked)


def _read(asked: dict[str, Any]) -> Lora:
    path, scale = Path(str(asked["path"])).expanduser(), asked.get("scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, (int, float)):
        raise BadInput(f"model.loras: the scale of {path} must be a number, not {scale!r}")
    if path.suffix != ".safetensors" or not path.is_file():
        raise BadInput(
            f"model.loras: {path} is not a .safetensors file that is there: give the path of one "
            "(hf download OWNER/NAME fetches it from the hub)"
        )
    read_header("model.loras:", path)
    with path.open("rb") as file:
        return Lora(path.absolute(), float(scale), hashlib.file_digest(file, "sha256").hexdigest(), asked.get("into"))


def check_parts(asked: Any, denoisers: list[str]) -> None:
    """Refuse LoRAs of which it is not said, or said wrongly, which of a pipeline's denoisers they are for.

    Args:
        asked: ``model.loras``, as ``read_loras`` takes it.
        denoisers: their names in the pipeline.

    Raises:
        BadInput: names the file.
    """
    for one in asked or ():
        into = one.get("into")
        if into is None and len(denoisers) > 1:
            raise BadInput(
                f"model.loras: say which denoiser {one['path']} is for, with into: {' or into: '.join(denoisers)}; "
                "name it twice if it is for both"
            )
        if into is not None and into not in denoisers:
            has = " and ".join(denoisers)
            raise BadInput(f"model.loras: {one['path']} is to go into {into}, and the model's denoisers are {has}")


def attach_loras(pipeline: Any, loras: tuple[Lora, ...], fuse: bool) -> None:
    """Load LoRAs into a pipeline.

    Args:
        pipeline: a diffusers pipeline, not compiled and not placed yet.
        loras: in this order.
        fuse: add them into the weights: as fast as without, and not quite the same bits.

    Raises:
        BadInput: a file is for another model.
    """
    if not loras:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise BadInput(f"model.loras: {type(pipeline).__name__} does not support LoRAs: leave it out")
    names = [f"lora{number}" for number in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        try:
            second = {"load_into_transformer_2": True} if lora.into == "transformer_2" else {}
            pipeline.load_lora_weights(lora.path.parent, weight_name=lora.path.name, adapter_name=name, **second)
            reason = _misfit(pipeline, name, lora.path)
        except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
            reason = first_line(error)
        if reason:
            raise BadInput(f"model.loras: {lora.path} does not fit the model ({reason}): use one made for it")
    pipeline.set_adapters(names, [lora.scale for lora in loras])
    if fuse:
        changed = [name for name, part in pipeline.components.items() if getattr(part, "peft_config", None)]
        pipeline.fuse_lora(components=changed, adapter_names=names)  # by itself it passes over a second denoiser
        pipeline.unload_lora_weights()


def _misfit(pipeline: Any, name: str, file: Path) -> str:
    """Return what is wrong with a LoRA that was loaded; "" where each of its layers has one of the model.

    diffusers passes over layers that the model does not have, and only its log says so.
    """
    changed = sum(
        name in getattr(layer, "lora_A", ())
        for part in pipeline.components.values()
        if hasattr(part, "modules")
        for layer in part.modules()
    )
    if not changed:
        return "it changes no layer of it"
    weights = pipeline.lora_state_dict(file.parent, weight_name=file.name)  # by diffusers' names, of any tool's file
    weights = weights[0] if isinstance(weights, tuple) else weights
    layers = sum(bool(_FIRST.search(key)) for key in weights)
    return f"of its {layers} layers the model has {changed}" if changed < layers else ""
