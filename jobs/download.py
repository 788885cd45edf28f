"""Fetch what a model needs from the hub: ``python -m jobs.download model=flux``. Again = go on.

Takes the same ``model=...`` and ``model.NAME=...`` as jobs.generate. All of it goes into the hub's cache (HF_HOME), and
jobs.generate loads from there without asking the network. With ``--convert`` weights are written down once more, in the
dtypes in which a run uses them: the processes of a machine then share them in memory, and samples stay the same.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.base.disk import human_bytes
from jobs.base.errors import BadInput, refuse
from jobs.model.checkpoint import Checkpoint, find_checkpoint
from jobs.model.converted import convert, converted_by_each, find_converted
from jobs.model.parts import read_parts
from jobs.model.single_file import CONFIGURATION
from jobs.options.compose import compose_options
from jobs.options.model import ModelOptions
from jobs.run.read_options import read_options

MUCH = 1 << 30  # bytes of weights that each process converts, from which on it is said
UNREACHABLE = "the hub cannot be reached for {}: run this where there is a network, with the same HF_HOME"


def download(model: ModelOptions) -> Checkpoint:
    """Fetch a pipeline that is not on the disk yet; of one that is, only what has changed.

    Args:
        model: the model's options; what is a local file or directory is only checked.

    Raises:
        BadInput: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    for part in read_parts(model):
        if not (part.place and "@" not in part.pin):
            path, _, revision = part.asked.partition("@")
            with _explained(path, revision or None):
                _fetch_part(part.name, path, revision or None)
    checkpoint = _find(model)
    if checkpoint.single and checkpoint.single.in_cache:
        with _explained(checkpoint.single.config, None):
            snapshot_download(checkpoint.single.config, allow_patterns=[*CONFIGURATION])
        checkpoint = _find(model)
    elif not checkpoint.local:
        with _explained(model.path, model.revision):
            _fetch_parts(model, [part.name for part in checkpoint.parts])
        checkpoint = _find(model)
    checkpoint.check()
    return checkpoint


def _find(model: ModelOptions) -> Checkpoint:
    return replace(find_checkpoint(model.path, model.revision, model.variant, model.config), parts=read_parts(model))


@contextmanager
def _explained(path: str, revision: str | None) -> Iterator[None]:
    """Turn what goes wrong while a repository is fetched into a sentence."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{path}"
    try:
        yield
    except GatedRepoError:
        raise BadInput(
            f"{path} has a licence to accept: do so at {page}, then log in with 'hf auth login' or set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise BadInput(
            f"the hub has no {path}, or you have no access to it: correct model.path, or log in with 'hf auth login'"
        ) from None
    except RevisionNotFoundError:
        raise BadInput(f"{path} has no revision {revision}: give a branch, tag or commit of {page}") from None
    except LocalEntryNotFoundError:
        raise BadInput(UNREACHABLE.format(path)) from None
    except EntryNotFoundError:
        raise BadInput(f"{path} holds no model_index.json: give the hub id of a diffusers pipeline") from None
    except HfHubHTTPError as error:
        reason = _first_line(error)
        raise BadInput(
            f"the hub ended the download of {path} ({reason}): run the same command again, which continues"
        ) from None
    except OSError as error:
        if error.errno is None:  # diffusers' own words for the network
            raise BadInput(UNREACHABLE.format(path)) from None
        raise BadInput(
            f"{path} could not be stored ({error.strerror}): mend that and run the same command again, which continues"
        ) from None


def _fetch_parts(model: ModelOptions, elsewhere: list[str]) -> None:
    """All parts of a pipeline, each in the one format that is loaded; of those from elsewhere the configuration."""
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging
    from huggingface_hub import hf_hub_download

    logging.set_verbosity_error()
    hf_hub_download(model.path, "model_index.json", revision=model.revision)
    commit = find_checkpoint(model.path, model.revision).revision
    pipeline = _without(elsewhere) if elsewhere else DiffusionPipeline
    pipeline.download(model.path, revision=commit, variant=model.variant, **dict.fromkeys(elsewhere))
    for name in elsewhere:
        hf_hub_download(model.path, f"{name}/config.json", revision=commit)


def _without(parts: list[str]) -> Any:
    """Return diffusers' pipeline, which leaves out parts that it is given, but not those that a class may go without.

    It goes by the class's name and module, too.
    """
    from diffusers import DiffusionPipeline

    def keys(cls: Any, obj: Any) -> tuple[set[str], set[str]]:
        expected, optional = DiffusionPipeline._get_signature_keys(obj)
        return {*expected, *parts}, optional

    own = {"_get_signature_keys": classmethod(keys), "__module__": DiffusionPipeline.__module__}
    return type(DiffusionPipeline.__name__, (DiffusionPipeline,), own)


def _fetch_part(name: str, path: str, revision: str | None) -> None:
    """A part that lies in a repository of its own, or in a folder of a pipeline's."""
    from huggingface_hub import snapshot_download

    files = ("config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model-*-of-*.safetensors",
             "diffusion_pytorch_model.safetensors.index.json")  # fmt: skip
    folder = snapshot_download(path, revision=revision, allow_patterns=["config.json", f"{name}/config.json"])
    own = "" if (Path(folder) / "config.json").is_file() else f"{name}/"
    snapshot_download(path, revision=revision, allow_patterns=[own + file for file in files])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def main(arguments: list[str] | None = None) -> int:
    """Download what the command line names."""
    arguments = sys.argv[1:] if arguments is None else arguments
    converts, arguments = "--convert" in arguments, [one for one in arguments if one != "--convert"]
    if not any(argument.startswith("model") for argument in arguments):
        refuse("say which model: python -m jobs.download model=flux")
    try:
        model = read_options(compose_options(arguments)).model
        checkpoint = download(model)
        folder = _convert(model, checkpoint) if converts else None
    except BadInput as error:
        refuse(str(error))
    print(f"{checkpoint.path} is complete: revision {checkpoint.revision} in {checkpoint.folder}")
    stored = converted_by_each(model, checkpoint)
    if stored >= MUCH and not find_converted(model, checkpoint):
        print(
            f"{human_bytes(stored)} of its weights are stored in another dtype than they are used in, and each process "
            "converts them for itself: the same command with --convert does so once"
        )
    if folder:
        print(f"its weights for runs with model.dtype={model.dtype} are in {folder}")
    return 0


def _convert(model: ModelOptions, checkpoint: Checkpoint) -> Path:
    from jobs.model.load import quieten, read_weights

    quieten()
    return find_converted(model, checkpoint) or convert(model, checkpoint, read_weights(model, checkpoint))


if __name__ == "__main__":
    sys.exit(main())
