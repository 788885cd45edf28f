"""Where a model's checkpoint is, whether all of it is there, and what pins it."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput

EMBEDDED = "embedded:"
HASHED_WHOLE = 64 << 20  # bytes of weights up to which a local model is identified by its contents
WEIGHT_FILES = ("model", "pytorch_model", "diffusion_pytorch_model")  # as loaded where no variant is asked for
NO_PATH = "model.path {} is neither a directory nor a hub id: a hub id looks like black-forest-labs/FLUX.1-dev"
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Checkpoint:
    """A diffusers pipeline on the disk.

    Attributes:
        path: as the user gave it.
        revision: a digest of a local directory's contents, or the hub's commit; None while it is not known, because
            nothing of that revision is in the hub's cache.
        folder: the directory to load from; None while there is none.
        local: whether the user gave a directory or an embedded model, not a hub id.
        asked: the revision as the user gave it.
    """

    path: str
    revision: str | None
    folder: Path | None
    local: bool
    asked: str | None = None

    @property
    def download_command(self) -> str:
        """The command that fetches just this from the hub."""
        pinned = f" model.revision={self.revision or self.asked}" if self.revision or self.asked else ""
        return f"python -m jobs.download model.path={self.path}{pinned}"

    def check(self) -> None:
        """Make sure that everything is on the disk.

        Raises:
            BadInput: the model, or a part of it, is missing.
        """
        if self.folder is None:
            raise BadInput(f"model.path {self.path} is not downloaded: run {self.download_command} first")
        missing = missing_part(self.folder)
        if missing:
            mend = "give a whole pipeline's directory" if self.local else f"run {self.download_command} again"
            raise BadInput(f"model.path {self.path} lacks {missing}: {mend}")


def find_checkpoint(path: str, revision: str | None) -> Checkpoint:
    """Look up a checkpoint without touching the network.

    Args:
        path: a diffusers pipeline's directory, ``embedded:NAME`` or a hub id.
        revision: branch, tag or commit on the hub; None: its default branch.

    Raises:
        BadInput: a local path that holds no pipeline, or one with a revision.
    """
    folder = _local_folder(path)
    if folder is not None:
        if revision is not None:
            raise BadInput(
                f"model.revision={revision} is for hub ids, and model.path {path} is a directory: leave it out"
            )
        return Checkpoint(path, _digest(folder), folder, local=True)
    folder = _cached_snapshot(path, revision)
    commit = folder.name if folder else revision if revision and COMMIT.fullmatch(revision) else None
    return Checkpoint(path, commit, folder, False, revision)


def _local_folder(path: str) -> Path | None:
    """Return the directory a path names; None for a hub id."""
    if path.startswith(EMBEDDED):
        from jobs.model import demo

        try:
            return demo.path(path.removeprefix(EMBEDDED))
        except ValueError as error:
            raise BadInput(f"model.path {path}: {error}") from None
    folder = Path(path).expanduser()
    if not folder.is_dir():
        if path.startswith((".", "/", "~")):
            raise BadInput(f"model.path {path} is not a directory: give a diffusers pipeline's directory or a hub id")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
            raise BadInput(NO_PATH.format(path))
        return None
    if not (folder / "model_index.json").is_file():
        raise BadInput(f"model.path {path} has no model_index.json: give the directory of a whole diffusers pipeline")
    return folder


def _cached_snapshot(path: str, revision: str | None) -> Path | None:
    """Return the folder of what was downloaded of a revision; None where its model_index.json never was."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # One file is enough to find the folder; the parts that are loaded are fewer than the repository has files.
        found = snapshot_download(path, revision=revision, local_files_only=True, allow_patterns=["model_index.json"])
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise BadInput(NO_PATH.format(path)) from None
    folder = Path(found)
    return folder if (folder / "model_index.json").is_file() else None


def missing_part(folder: Path) -> str | None:
    """Name a file or part that a pipeline's directory should hold and does not; None when it is whole."""
    try:
        index: dict[str, Any] = json.loads((folder / "model_index.json").read_text())
    except (OSError, ValueError):
        return "a readable model_index.json"
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value[0] is None:
            continue
        if not (folder / name).is_dir():
            return f"the folder {name}"
        shards = list((folder / name).glob("*.index.json"))
        # A repository may list shards in several variants; one complete set of weights is enough.
        lists = [sorted(set(json.loads(shard.read_text())["weight_map"].values())) for shard in shards]
        absent = [[file for file in files if not (folder / name / file).is_file()] for files in lists]
        if lists and all(absent):
            return f"{name}/{absent[0][0]}"
        # Networks have a config.json; tokenizers, schedulers and processors have files of other names.
        if not lists and (folder / name / "config.json").is_file() and not _has_weights(folder / name):
            return f"the weights in {name}"
    return None


def _has_weights(folder: Path) -> bool:
    return any((folder / f"{stem}{suffix}").is_file() for stem in WEIGHT_FILES for suffix in (".safetensors", ".bin"))


def _digest(folder: Path) -> str:
    """Return 16 hexadecimal digits over a pipeline's files: names, sizes and contents (of large ones, pieces)."""
    try:
        parts = json.loads((folder / "model_index.json").read_text())
    except ValueError:
        parts = {}
    files = [folder / "model_index.json"]
    for part in sorted(parts):
        # Not rglob: it leaves out folders that are links.
        walk = os.walk(folder / part, followlinks=True)
        files += sorted(Path(place) / name for place, _, names in walk for name in names)
    whole = sum(file.stat().st_size for file in files) <= HASHED_WHOLE
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        if whole or file.suffix == ".json":
            digest.update(file.read_bytes())
        else:
            _hash_pieces(file, digest)
    return digest.hexdigest()[:16]


def _hash_pieces(file: Path, digest: Any, pieces: int = 256, size: int = 1 << 14) -> None:
    """Of a large weight file take pieces spread evenly: training changes nearly all weights of what it trains."""
    with open(file, "rb") as stream:
        for piece in range(pieces):
            stream.seek(piece * max(file.stat().st_size - size, 0) // (pieces - 1))
            digest.update(stream.read(size))
