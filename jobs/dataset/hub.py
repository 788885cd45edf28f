"""Reads prompts from a dataset of the Hugging Face hub, pinned by its commit, through the hub's cache."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput, first_line
from jobs.dataset.parquet import rows_of
from jobs.dataset.rows import Rows
from jobs.dataset.source import PromptSource

# What tables are in, and what says how they are divided; a repository may hold pictures besides.
_FETCHED = ("parquet", "arrow", "csv", "tsv", "json", "jsonl", "txt", "gz", "zst", "xz", "bz2", "md", "yaml")


def read_dataset(source: PromptSource) -> tuple[PromptSource, Rows]:
    """Read a split of a dataset.

    What is in the hub's cache is read from there; with a commit of its own in ``source`` the hub is not even asked.

    Returns:
        The source with the commit that was read, and the rows.

    Raises:
        BadInput: the library is missing, or the dataset, its revision or its split.
    """
    try:
        import datasets
    except ImportError:
        raise BadInput(
            f"prompt_file {source.location} is read by the library datasets, which is not installed: "
            "run pip install datasets"
        ) from None
    folder = _snapshot(source)
    datasets.disable_progress_bars()
    try:
        configuration, split = _choose(datasets, source, str(folder))
        data = datasets.load_dataset(str(folder), configuration, split=split)
    except BadInput:
        raise
    except Exception as error:  # whatever its many readers meet in the files
        cause: BaseException = error
        while cause.__cause__:  # of "An error occurred while generating the dataset"
            cause = cause.__cause__
        raise BadInput(f"prompt_file {source.location} cannot be read ({first_line(cause)}): is it a table?") from None
    table = data.with_format("arrow")[:]
    for number, (name, kind) in enumerate(data.features.items()):
        if isinstance(kind, datasets.ClassLabel):  # numbers, whose meaning stands beside the table
            table = table.set_column(number, name, [_names(kind, table.column(name).to_pylist())])
    return replace(source, commit=folder.name), rows_of(table, source.location)


def _names(label: Any, numbers: list[int | None]) -> list[str | None]:
    """Return the names of classes; -1 is how the library writes none."""
    return [None if number is None or number < 0 else label.int2str(number) for number in numbers]


def _choose(datasets: Any, source: PromptSource, folder: str) -> tuple[str | None, str]:
    """Return the configuration and the split that are meant."""
    given, _, split = (source.split or "").rpartition("/")
    configurations = datasets.get_dataset_config_names(folder)
    configuration = _the_one(configurations, given, "default", "configurations", source)
    splits = datasets.get_dataset_split_names(folder, configuration)
    return configuration, _the_one(splits, split, "train", "splits", source)


def _the_one(names: Sequence[str], asked: str, usual: str, what: str, source: PromptSource) -> str:
    if asked in names:
        return asked
    if not asked and (len(names) == 1 or usual in names):
        return names[0] if len(names) == 1 else usual
    problem = f"no {asked} among its {what}" if asked else f"several {what}"
    form = "CONFIGURATION/SPLIT" if what == "configurations" else "one of them"
    raise BadInput(f"prompt_file {source.location} has {problem} {', '.join(names)}: set prompt_split={form}")


def _snapshot(source: PromptSource) -> Path:
    """Return the folder of the dataset's files in the hub's cache, named by its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, asked = source.dataset()
    wanted: dict[str, Any] = {"repo_type": "dataset", "allow_patterns": [f"*.{one}" for one in _FETCHED]}
    try:
        if source.commit is not None:
            try:
                return Path(snapshot_download(name, revision=source.commit, local_files_only=True, **wanted))
            except LocalEntryNotFoundError:
                asked = source.commit
        return Path(snapshot_download(name, revision=asked, **wanted))
    except GatedRepoError:
        reason = f"has a licence to accept at https://huggingface.co/datasets/{name}: do so, and set HF_TOKEN"
    except RepositoryNotFoundError:
        reason = "is not on the hub, or not for you to see: check the name, or set HF_TOKEN"
    except RevisionNotFoundError:
        reason = f"has no revision {asked}: give a branch, tag or commit"
    except HFValidationError:
        reason = "is no name of the hub: write hf://datasets/OWNER/NAME"
    except LocalEntryNotFoundError:
        reason = "is not in the hub's cache, and the hub cannot be reached: run this where it can, once"
    except (HfHubHTTPError, OSError) as error:
        reason = f"did not come from the hub ({first_line(error)}): run the same command again, which goes on"
    raise BadInput(f"prompt_file {source.location} {reason}")
