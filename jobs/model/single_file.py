"""Checkpoints in one file, as tools pass them on: what such a file holds, and where the rest of the pipeline is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.base.checkpoint_json import read_index
from jobs.base.errors import BadInput
from jobs.model.files import GGUF, check_file, check_whole, digest_of, fitting, read_header
from jobs.model.hub_cache import HUB_ID, cached_snapshot
from jobs.model.sources import inherits
from jobs.options.model import ModelOptions

CONFIGURATION = ("*.json", "*/*.json", "*/*.txt", "*/*.model")  # of a repository, what is not in the file

_AUTOENCODER = ("first_stage_model.", "vae.")
_CLIP = ("cond_stage_model.", "conditioner.", "text_encoders.clip")
_T5 = ("text_encoders.t5xxl.",)
_LEFT_OUT = ("safety_checker", "image_encoder", "feature_extractor")  # by diffusers, of such files
_NO_NETWORK = ("Tokenizer", "Processor", "Extractor")


@dataclass(frozen=True)
class SingleFile:
    """One file, and the configuration of its pipeline.

    Attributes:
        file: the weights.
        config: a pipeline's directory or hub id, of which the configuration is taken.
        folder: where that lies; None while it is not downloaded.
        lacks: text encoders that are not in the file, and come from the folder.
        digest: over the file and all that is taken from the folder; None without it.
    """

    file: Path
    config: str
    folder: Path | None
    lacks: tuple[str, ...]
    digest: str | None

    @property
    def in_cache(self) -> bool:
        """Whether the configuration is in the hub's cache, not in a directory of the user's."""
        return not Path(self.config).expanduser().is_dir()


def find_single_file(path: str, config: str | None) -> SingleFile:
    """Look at a checkpoint in one file, without touching the network.

    Args:
        path: the file.
        config: a pipeline's directory or hub id; None: the hub id that diffusers knows for such weights.

    Raises:
        BadInput: it holds no whole pipeline, or nobody knows of which model.
    """
    file = check_file("model.path", path)
    header = {} if file.suffix == GGUF else read_header("model.path", file)
    if not _holds(header, _AUTOENCODER):
        raise BadInput(
            f"model.path {path} holds no autoencoder, so it is not a whole pipeline: of a denoiser's file, give "
            f"model.path=PIPELINE model.transformer={path}"
        )
    config = config or _known(path, header)
    folder = _folder_of(config)
    if folder is None:
        return SingleFile(file, config, None, (), None)
    index = read_index(folder)
    if not index:
        raise BadInput(f"model.config {config} has no readable model_index.json: fetch it again")
    lacks = tuple(name for name, value in sorted(index.items()) if _is_lacking(name, value, header))
    taken = {str(one.relative_to(folder)): one for one in _taken(folder, index, lacks)}
    return SingleFile(file, config, folder, lacks, digest_of({"": file, **taken}))


def check_single_file(found: SingleFile, index: dict[str, Any], model: ModelOptions) -> None:
    """Refuse what a pipeline in one file cannot do.

    Args:
        found: the file.
        index: its pipeline's ``model_index.json``.
        model: the model's options.

    Raises:
        BadInput: names the option.
    """
    kind = str(index.get("_class_name"))
    if not inherits(kind, "FromSingleFileMixin"):
        raise BadInput(
            f"model.path {model.path}: {kind} cannot be read from a single file: give the pipeline's directory"
        )
    for name in ("quantization", "variant"):
        if getattr(model, name):
            raise BadInput(f"model.{name} is for directories and hub ids, and model.path is a file: leave it out")


def load_single_file(found: SingleFile, index: dict[str, Any], dtype: Any, given: dict[str, Any]) -> Any:
    """Load a pipeline from one file.

    Args:
        found: the file, whose configuration is on the disk.
        index: its pipeline's ``model_index.json``.
        dtype: torch dtype.
        given: parts that are loaded already, or None for those that are not to be.
    """
    import diffusers
    import transformers

    assert found.folder
    for name in found.lacks:
        if name not in given:
            owner = getattr(transformers, index[name][1])
            given[name] = owner.from_pretrained(found.folder / name, dtype=dtype, local_files_only=True)
    owner = getattr(diffusers, index["_class_name"])
    with fitting(f"model.path {found.file}", index["_class_name"]):
        pipeline = owner.from_single_file(
            str(found.file), config=str(found.folder), dtype=dtype, local_files_only=True, **given
        )
        for part in pipeline.components.values():
            check_whole(part)
    return pipeline


def _known(path: str, header: dict[str, tuple[int, ...]]) -> str:
    """Return the hub id that diffusers takes the configuration from."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config  # imports torch, which takes seconds

    known = fetch_diffusers_config({name: _Shaped(shape) for name, shape in header.items()})
    # What it does not know it takes for Stable Diffusion 1, whose text encoder has a name of its own.
    if "v1-5" in known["pretrained_model_name_or_path"] and not _holds(header, ("cond_stage_model.",)):
        raise BadInput(f"model.path {path} is of a model that diffusers does not know by its weights: give "
                       "model.config=, a pipeline's directory or hub id to take the configuration from")  # fmt: skip
    return str(known["pretrained_model_name_or_path"])


@dataclass(frozen=True)
class _Shaped:
    """A tensor as far as it takes to tell a model by its weights."""

    shape: tuple[int, ...]


def _folder_of(config: str) -> Path | None:
    folder = Path(config).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise BadInput(f"model.config {config} has no model_index.json: give the directory of a diffusers pipeline")
        return folder
    otherwise = f"model.config {config} is neither a pipeline's directory nor a hub id: correct it"
    if config.startswith((".", "/", "~")) or not HUB_ID.fullmatch(config):
        raise BadInput(otherwise)
    return cached_snapshot(config, None, holds=("model_index.json",), otherwise=otherwise)


def _is_lacking(name: str, value: Any, header: dict[str, tuple[int, ...]]) -> bool:
    if not isinstance(value, list) or value[0] != "transformers" or name in _LEFT_OUT:
        return False
    kind = str(value[1])
    if any(word in kind for word in _NO_NETWORK):
        return False
    return not _holds(header, _T5 if "T5" in kind else _CLIP if "CLIPText" in kind else ())


def _holds(header: dict[str, tuple[int, ...]], prefixes: tuple[str, ...]) -> bool:
    return any(name.startswith(prefixes) for name in header)


def _taken(folder: Path, index: dict[str, Any], lacks: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of a pipeline's directory that are read: its configuration, and the weights of some parts."""
    yield folder / "model_index.json"
    for name in sorted(name for name, value in index.items() if isinstance(value, list) and value[0]):
        for file in sorted((folder / name).glob("*")):
            if file.is_file() and (name in lacks or file.suffix in (".json", ".txt", ".model")):
                yield file
