"""From a path, a folder or a glob to the files of a prompt list."""

import glob
import os
import re
from pathlib import Path

from jobs.base.errors import BadInput

FORMATS = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")


def format_of(path: Path) -> str:
    """Return the ending that says how a file is read, in small letters and without ``.gz``; "" for others."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return plain.suffix.lower() if plain.suffix.lower() in FORMATS else ""


def find_files(location: str) -> list[Path]:
    """Return the files of a prompt list, in the order of their names.

    Args:
        location: a file; a folder, of which hidden files and those of other formats are passed over; or a glob, in
            which ``**`` stands for folders at any depth. What exists under just that name is no glob.

    Raises:
        BadInput: there are none, or files of several formats.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        found = [one for one in path.iterdir() if not one.name.startswith(".")]
    elif path.exists():
        if not format_of(path):
            raise BadInput(
                f"prompt_file {path} must end in one of {', '.join(FORMATS)}, or in that and .gz: rename or convert it"
            )
        return [path]
    elif re.search(r"[*?\[]", location):
        found = [Path(one) for one in glob.glob(str(path), recursive=True)]
    else:
        raise BadInput(f"prompt_file {location} does not exist: {_mend(location)}")
    files = sorted(one for one in found if format_of(one) and one.is_file())
    if not files:
        raise BadInput(f"prompt_file {path} leads to no file that ends in one of {', '.join(FORMATS)}: check the path")
    formats = sorted({format_of(one) for one in files})
    if len(formats) > 1:
        example = (path if path.is_dir() else path.parent) / f"*{formats[0]}"
        raise BadInput(
            f"prompt_file {path} names {' and '.join(formats)} files: choose one kind, like prompt_file='{example}'"
        )
    return files


def _mend(location: str) -> str:
    """Return what to do about a path that leads nowhere: some are addresses, or the name of a dataset of the hub."""
    if re.match(r"\w+://", location):
        return "download it first, or name a dataset of the hub as hf://datasets/OWNER/NAME"
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", location) and not format_of(Path(location)):
        return f"give the path of a prompt file; a dataset of the hub is named hf://datasets/{location}"
    return "give the path of a prompt file"


def caption_ids(files: list[Path], counts: list[int]) -> list[str] | None:
    """Return ids for a folder of captions, one a file: the files' names; None where files are lists of prompts.

    Args:
        files: .txt files.
        counts: prompts in each.

    Raises:
        BadInput: most files hold one prompt and some hold more.
    """
    single = sum(count <= 1 for count in counts)
    if single == len(files):
        stems = [_stem(one.name) for one in files]
        if len(set(stems)) == len(stems):
            return stems
        top = os.path.commonpath([one.parent for one in files])
        return [_stem(one.relative_to(top).as_posix()) for one in files]
    if 2 * single > len(files):
        first = next(index for index, count in enumerate(counts) if count > 1)
        raise BadInput(
            f"{files[first]} has {counts[first]} lines where most files have one: write its prompt on one line, "
            "or put lists and single prompts into folders of their own"
        )
    return None


def _stem(name: str) -> str:
    return re.sub(r"(?i)\.txt(\.gz)?$", "", name)
