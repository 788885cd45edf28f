"""Fetch what a model needs from the hub: ``python -m jobs.download model=flux``. Again = go on.

Takes the same ``model=...``, ``model.path=...``, ``model.revision=...`` and ``model.variant=...`` as jobs.generate.
Everything goes into the hub's cache (HF_HOME), from which jobs.generate loads without asking the network.
"""

import sys

from jobs.base.errors import BadInput, refuse
from jobs.model.checkpoint import Checkpoint, find_checkpoint
from jobs.options.compose import compose_options
from jobs.run.resolve import read_options

UNREACHABLE = "the hub cannot be reached for {}: run this where there is a network, with the same HF_HOME"


def download(path: str, revision: str | None, variant: str | None = None) -> Checkpoint:
    """Fetch a pipeline that is not on the disk yet; of one that is, only what has changed.

    Args:
        path: hub id of a diffusers pipeline; a local directory is only checked.
        revision: branch, tag or commit; None: the default branch.
        variant: of the weights, such as "fp16"; None: the plain ones.

    Raises:
        BadInput: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    checkpoint = find_checkpoint(path, revision, variant)
    if checkpoint.local:
        checkpoint.check()
        return checkpoint
    page = f"https://huggingface.co/{path}"
    try:
        hf_hub_download(path, "model_index.json", revision=revision)
        commit = find_checkpoint(path, revision).revision
        _fetch_parts(path, commit, variant)
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
    checkpoint = find_checkpoint(path, revision, variant)
    checkpoint.check()
    return checkpoint


def _fetch_parts(path: str, commit: str | None, variant: str | None) -> None:
    """All parts, each in the one file format that is loaded."""
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging

    logging.set_verbosity_error()
    DiffusionPipeline.download(path, revision=commit, variant=variant)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def main(arguments: list[str] | None = None) -> int:
    """Download what the command line names."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not any(argument.startswith("model") for argument in arguments):
        refuse("say which model: python -m jobs.download model=flux")
    try:
        model = read_options(compose_options(arguments)).model
        checkpoint = download(model.path, model.revision, model.variant)
    except BadInput as error:
        refuse(str(error))
    print(f"{checkpoint.path} is complete: revision {checkpoint.revision} in {checkpoint.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
