"""Checkpoints of transformers that scorers load: a folder, or what the hub's cache has of a hub id. No network."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.base.checkpoint_json import read_json
from jobs.base.errors import BadInput

_PIECE = 1 << 20  # bytes of the beginning and the end of a file that identify it, beside its size


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk.

    Attributes:
        option: the option of ``jobs.score`` that names it.
        path: as it was given.
        folder: where it lies.
        revision: the hub's commit, or a digest of the folder's files.
        config: its config.json.
    """

    option: str
    path: str
    folder: Path
    revision: str
    config: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides what it computes: wherever a folder lies, it is the same."""
        named = {} if self._is_local else {"checkpoint": self.path}
        return {**named, "revision": self.revision}

    @property
    def inputs(self) -> list[Path]:
        """What loading it reads: in the hub's cache the files are links to others beside the snapshots."""
        return [self.folder] if self._is_local else [self.folder, self.folder.parents[1]]

    @property
    def _is_local(self) -> bool:
        return Path(self.path).expanduser().is_dir()


def find_checkpoint(option: str, path: str, kinds: tuple[str, ...]) -> Checkpoint:
    """Find a checkpoint.

    Args:
        option: see ``Checkpoint``.
        path: a folder, or a hub id.
        kinds: what ``model_type`` of its config may be, or an ending of a class in ``architectures``.

    Raises:
        BadInput: it is not there, or not whole, or another kind of model.
    """
    given = Path(path).expanduser()
    folder = given if given.is_dir() else _cached(option, path)
    config = read_json(folder / "config.json")
    if not config:
        raise BadInput(f"{option}={path} has no readable config.json: give a transformers model's folder")
    classes = config.get("architectures")
    names = [str(config.get("model_type")), *(map(str, classes) if isinstance(classes, list) else ())]
    if not any(name == kind or name.endswith(kind) for name in names for kind in kinds):
        raise BadInput(f"{option}={path} is a model of the kind {names[0]}, and {option} needs {' or '.join(kinds)}")
    weights = sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
    if not weights:
        raise BadInput(f"{option}={path} has no weights (.safetensors, .bin) in {folder}: {_download(path)}")
    revision = file_digest([*sorted(folder.glob("*.json")), *weights]) if folder == given else folder.name
    return Checkpoint(option, path, folder, revision, config)


def file_digest(files: list[Path]) -> str:
    """Return 16 hexadecimal digits over files: their names, sizes, and both ends of their contents."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with open(file, "rb") as stream:
            digest.update(stream.read(_PIECE))
            stream.seek(max(0, size - _PIECE))
            digest.update(stream.read(_PIECE))
    return digest.hexdigest()[:16]


def _cached(option: str, path: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise BadInput(f"{option}={path} is neither a folder nor a hub id like openai/clip-vit-base-patch32")
    try:
        return Path(snapshot_download(path, local_files_only=True, allow_patterns=["config.json"]))
    except LocalEntryNotFoundError:
        raise BadInput(f"{option}={path} is not downloaded: {_download(path)}") from None


def _download(path: str) -> str:
    return f"run hf download {path} first, where there is a network, or give the folder of such a model"
