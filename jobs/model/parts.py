"""Parts of a pipeline that come from elsewhere than its checkpoint: an autoencoder, a denoiser's file."""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.model.files import FETCH_AGAIN, GGUF, check_file, check_gguf, check_whole, digest_of, fitting, names_file
from jobs.model.hub_cache import HUB_ID, cached_snapshot
from jobs.model.sources import inherits
from jobs.model.stored import check_stored, missing_weights
from jobs.options.model import ModelOptions

NAMES = ("vae", "transformer", "transformer_2")  # options of a model, and what pipelines call the part


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: what the pipeline calls it.
        asked: where it is, as the user gave it.
        place: its file, or the folder with its ``config.json``; None while it is not downloaded.
        pin: a digest of what it is made of, or the hub's commit.
    """

    name: str
    asked: str
    place: Path | None
    pin: str

    @property
    def is_file(self) -> bool:
        """Whether it is one file, whose configuration is that of the checkpoint."""
        return names_file(self.asked)

    @property
    def in_folder(self) -> bool:
        """Whether the user gave a directory."""
        return Path(self.asked).expanduser().is_dir()

    @property
    def quantised(self) -> bool:
        """Whether its weights are kept in the few bits that they have in a GGUF file."""
        return self.is_file and self.asked.endswith(GGUF)

    @property
    def option(self) -> str:
        """As it is written on a command line."""
        return f"model.{self.name}={self.asked}"

    def check(self, download_command: str) -> None:
        """Make sure that it is on the disk, and whole.

        Raises:
            BadInput: it, or its weights, are not.
        """
        if self.place is None:
            raise BadInput(f"{self.option} is not downloaded: run {download_command} first")
        if self.is_file:
            return
        missing = missing_weights(self.place, None)
        if missing is None and not any(self.place.glob("diffusion_pytorch_model*.safetensors")):
            missing = f"safetensors in {self.place.name}"
        if missing:
            mend = "give a whole folder of it" if self.in_folder else f"run {download_command} first"
            raise BadInput(f"{self.option} lacks {missing}: {mend}")
        again = FETCH_AGAIN if self.in_folder else f"delete it with what it links to, and run {download_command} again"
        check_stored(f"model.{self.name}", self.place, None, again)


def read_parts(model: ModelOptions) -> tuple[Part, ...]:
    """Return the parts that a model's options name, without touching the network.

    Raises:
        BadInput: a path that holds no such part.
    """
    return tuple(_read(name, asked) for name in NAMES if (asked := getattr(model, name)) is not None)


def _read(name: str, asked: str) -> Part:
    option = f"model.{name}"
    if names_file(asked):
        file = check_file(option, asked)
        return Part(name, asked, file, digest_of({"": file}))
    configs = ("config.json", f"{name}/config.json")
    folder = Path(asked).expanduser()
    if folder.is_dir():
        place = next((folder / one for one in configs if (folder / one).is_file()), None)
        if place is None:
            raise BadInput(f"{option} {asked} has no config.json: give the folder that diffusers saved the part in")
        files = sorted(one for one in place.parent.iterdir() if not one.is_dir())
        return Part(name, asked, place.parent.absolute(), digest_of({one.name: one for one in files}))
    path, _, revision = asked.partition("@")
    otherwise = f"{option} {asked} is neither a file, a directory nor a hub id: correct it"
    if asked.startswith((".", "/", "~")) or not HUB_ID.fullmatch(path):
        raise BadInput(otherwise)
    found = cached_snapshot(path, revision or None, holds=configs, otherwise=otherwise)
    if found is None:
        return Part(name, asked, None, asked)
    place = next(found / one for one in configs if (found / one).is_file())
    return Part(name, asked, place.parent, f"{path}@{found.name}")


def check_fit(parts: tuple[Part, ...], index: dict[str, Any], model: ModelOptions) -> None:
    """Refuse parts that do not go into a pipeline.

    Args:
        parts: that come from elsewhere.
        index: the pipeline's ``model_index.json``; empty while it is not known.
        model: the model's options.

    Raises:
        BadInput: names the option.
    """
    for part in parts:
        kind = (index.get(part.name) or [None, None])[1]
        if index and kind is None:
            named = [name for name in (*NAMES, "unet") if (index.get(name) or [None])[0]]
            raise BadInput(f"{part.option}: the model has no {part.name}; it has {' and '.join(named)}")
        if index and part.place and not part.is_file and (own := _class_in(part.place)) != kind:
            raise BadInput(f"{part.option} is a {own}, and the model's is a {kind}: give one of the model's class")
        if part.is_file and index and not inherits(kind, "FromOriginalModelMixin"):
            raise BadInput(f"{part.option}: {kind} cannot be read from a single file: give the folder of it")
        if part.quantised and part.name == "vae":
            raise BadInput(f"{part.option}: GGUF files are for denoisers: give a .safetensors file or a folder")
        if part.quantised and find_spec("gguf") is None:
            raise BadInput(f"{part.option} needs gguf, which is not installed: pip install 'gguf>=0.17'")
        if part.name in (model.quantization or {}):
            raise BadInput(f"{part.option} is read as it is: leave {part.name} out of model.quantization")
        if part.quantised and model.loras and model.fuse_loras:
            raise BadInput(
                f"{part.option}: nothing can be added into weights of a GGUF file: leave model.fuse_loras out"
            )
        if part.quantised and part.place:
            check_gguf(f"model.{part.name}", part.place)


def _class_in(place: Path) -> Any:
    try:
        return json.loads((place / "config.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return "folder without a readable config.json"


def load_part(part: Part, index: dict[str, Any], folder: Path | None, dtype: Any) -> Any:
    """Load a part of a pipeline.

    Args:
        part: one that is on the disk.
        index: the pipeline's ``model_index.json``.
        folder: the checkpoint's, whose configuration files take.
        dtype: torch dtype of the weights; of those of a GGUF file, of the arithmetic.
    """
    import diffusers

    owner = getattr(diffusers, index[part.name][1])
    if not part.is_file:
        return owner.from_pretrained(part.place, torch_dtype=dtype, local_files_only=True)
    more = {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)} if part.quantised else {}
    with fitting(part.option, index[part.name][1]):
        loaded = owner.from_single_file(
            str(part.place), config=str(folder), subfolder=part.name, torch_dtype=dtype, local_files_only=True, **more
        )
        check_whole(loaded)
    return loaded
