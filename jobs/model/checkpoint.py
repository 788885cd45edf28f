"""Where a model's checkpoint is, whether all of it is there, and what pins it."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.base.checkpoint_json import read_index, read_json
from jobs.base.errors import BadInput
from jobs.model.files import FETCH_AGAIN, digest_of, names_file
from jobs.model.hub_cache import COMMIT, HUB_ID, cached_snapshot
from jobs.model.loras import Lora
from jobs.model.parts import Part
from jobs.model.single_file import SingleFile, find_single_file
from jobs.model.stored import check_stored, missing_weights, variants_in

EMBEDDED = "embedded:"
NO_PATH = "model.path {} is neither a directory nor a hub id: a hub id looks like black-forest-labs/FLUX.1-dev"


@dataclass(frozen=True)
class Checkpoint:
    """A diffusers pipeline on the disk.

    Attributes:
        path: as the user gave it.
        revision: a digest of a local directory's contents, or the hub's commit; None while it is not known, because
            nothing of that revision is in the hub's cache.
        folder: the directory to load from, of a single file its configuration; None while there is none.
        local: whether the user gave a directory, a file or an embedded model, not a hub id.
        asked: the revision as the user gave it.
        variant: which of several files of the same weights is loaded, such as "fp16"; None: the plain ones.
        loras: that are loaded with it.
        parts: that are loaded from elsewhere in place of its own.
        single: the file that the others are in; None of a directory.
    """

    path: str
    revision: str | None
    folder: Path | None
    local: bool
    asked: str | None = None
    variant: str | None = None
    loras: tuple[Lora, ...] = ()
    parts: tuple[Part, ...] = ()
    single: SingleFile | None = None

    @property
    def pin(self) -> str | None:
        """What decides the weights: the revision, and of each part from elsewhere what pins that."""
        return self._pin_of(self.parts)

    @property
    def denoiser_pin(self) -> str | None:
        """What decides the features and outputs of the denoiser, which are the same with any autoencoder."""
        return self._pin_of([part for part in self.parts if part.name != "vae"])

    @property
    def vae_pin(self) -> str | None:
        """What pins an autoencoder from elsewhere; None of the checkpoint's own."""
        return next((part.pin for part in self.parts if part.name == "vae"), None)

    def _pin_of(self, parts: Sequence[Part]) -> str | None:
        if not parts:
            return self.revision
        return " ".join([str(self.revision), *(f"{part.name}={part.pin}" for part in parts)])

    @property
    def download_command(self) -> str:
        """The command that fetches just this from the hub."""
        pinned = f" model.revision={self.revision or self.asked}" if self.revision or self.asked else ""
        variant = f" model.variant={self.variant}" if self.variant else ""
        config = f" model.config={self.single.config}" if self.single else ""
        parts = config + "".join(f" {part.option}" for part in self.parts)
        return f"python -m jobs.download model.path={self.path}{pinned}{variant}{parts}"

    def check(self) -> None:
        """Make sure that everything is on the disk.

        Raises:
            BadInput: the model, or a part of it, is missing or torn.
        """
        if self.single and self.folder is None:
            raise BadInput(
                f"model.path {self.path} needs the configuration of {self.single.config}, which is not downloaded: run "
                f"{self.download_command} first, or give model.config=DIRECTORY"
            )
        if self.folder is None:
            raise BadInput(f"model.path {self.path} is not downloaded: run {self.download_command} first")
        for part in self.parts:
            part.check(self.download_command)
        elsewhere = [part.name for part in self.parts]
        if self.single:
            self._check_single(self.single, self.folder, elsewhere)
            return
        missing = missing_part(self.folder, self.variant, elsewhere)
        if missing:
            others = [one for one in (None, *sorted(variants_in(self.folder))) if one != self.variant]
            whole = [one or "null" for one in others if missing_part(self.folder, one, elsewhere) is None]
            mend = "give a whole pipeline's directory" if self.local else f"run {self.download_command} again"
            if whole:
                mend += f", or use model.variant={' or '.join(whole)}, which is there"
            raise BadInput(f"model.path {self.path} lacks {missing}: {mend}")
        # A download that finds the file in the hub's cache takes it for whole.
        again = FETCH_AGAIN if self.local else f"delete it with what it links to, and run {self.download_command} again"
        for name in _parts_of(self.folder):
            if name not in elsewhere:
                check_stored("model.path", self.folder / name, self.variant, again)

    def _check_single(self, single: SingleFile, folder: Path, elsewhere: list[str]) -> None:
        for name in single.lacks:
            if name not in elsewhere and missing_weights(folder / name, None):
                raise BadInput(
                    f"model.path {self.path} holds no {name}, and {single.config} has no weights of it here: give "
                    "model.config=DIRECTORY of a whole pipeline"
                )
            if name not in elsewhere:
                check_stored("model.config", folder / name, None)


def find_checkpoint(
    path: str, revision: str | None, variant: str | None = None, config: str | None = None
) -> Checkpoint:
    """Look up a checkpoint without touching the network.

    Args:
        path: a diffusers pipeline's directory, a single file, ``embedded:NAME`` or a hub id.
        revision: branch, tag or commit on the hub; None: its default branch.
        variant: see ``Checkpoint``.
        config: see ``find_single_file``.

    Raises:
        BadInput: a local path that holds no pipeline, or one with a revision.
    """
    single = find_single_file(path, config) if names_file(path) else None
    if config is not None and not single:
        raise BadInput(f"model.config={config} is for single files, and model.path {path} is none: leave it out")
    folder = None if single else _local_folder(path)
    if revision is not None and (single or folder):
        what = "a file" if single else "a directory"
        raise BadInput(f"model.revision={revision} is for hub ids, and model.path {path} is {what}: leave it out")
    if single:
        return Checkpoint(path, single.digest, single.folder, local=True, variant=variant, single=single)
    if folder is not None:
        return Checkpoint(path, _digest(folder), folder, local=True, variant=variant)
    folder = cached_snapshot(path, revision, holds=("model_index.json",), otherwise=NO_PATH.format(path))
    commit = folder.name if folder else revision if revision and COMMIT.fullmatch(revision) else None
    return Checkpoint(path, commit, folder, False, revision, variant)


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
        if not HUB_ID.fullmatch(path):
            raise BadInput(NO_PATH.format(path))
        return None
    if not (folder / "model_index.json").is_file():
        raise BadInput(f"model.path {path} has no model_index.json: give the directory of a whole diffusers pipeline")
    return folder


def missing_part(folder: Path, variant: str | None = None, elsewhere: Collection[str] = ()) -> str | None:
    """Name a file or part that a pipeline's directory should hold and does not; None when it is whole.

    Args:
        folder: the pipeline's directory.
        variant: whose weights are loaded. As in diffusers, a part that has none of the variant gives its plain ones,
            but some part must have it.
        elsewhere: parts that come from elsewhere; of these only the configuration is needed.
    """
    if not read_index(folder):
        return "a readable model_index.json"
    for name in _parts_of(folder):
        if not (folder / name).is_dir():
            return f"the folder {name}"
        if name in elsewhere:
            if not read_json(folder / name / "config.json"):
                return f"a readable {name}/config.json"
            continue
        for config in ("config.json", "scheduler_config.json"):
            if (folder / name / config).is_file() and not read_json(folder / name / config):
                return f"a readable {name}/{config}"
        missing = missing_weights(folder / name, variant)
        if missing and variant:
            missing = missing_weights(folder / name, None) and missing
        if missing:
            return missing
    if variant and variant not in variants_in(folder):
        return f"weights of the variant {variant}"
    return None


def _parts_of(folder: Path) -> list[str]:
    index = read_index(folder)
    return [name for name, value in index.items() if not name.startswith("_") and isinstance(value, list) and value[0]]


def _digest(folder: Path) -> str:
    """Return 16 hexadecimal digits over a pipeline's files."""
    files = [folder / "model_index.json"]
    for part in sorted(read_json(folder / "model_index.json")):
        # Not rglob: it leaves out folders that are links.
        walk = os.walk(folder / part, followlinks=True)
        files += sorted(Path(place) / name for place, _, names in walk for name in names)
    return digest_of({str(file.relative_to(folder)): file for file in files})
