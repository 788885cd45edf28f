"""What the columns of a prompt file are for: the prompt, options of a sample, or metadata.

A column that looks like an option under another name is never silently one or the other: ``columns=`` has to say.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.prompts import SETTINGS
from jobs.dataset.source import PromptSource
from jobs.options.aliases import SIZES, bare, option_meant

TARGETS = ("prompt", *SETTINGS, "metadata")
_INDEX = re.compile(r"|Unnamed: 0(\.\d+)*|__index_level_\d+__")  # of a table that pandas wrote
# What a run decides for all its samples, so that a column of the name says how somebody else's were made.
_OF_THE_RUN = (
    *("sampler", "samplername", "samplermethod", "samplertype", "scheduler", "clipskip", "vae", "lora", "loras"),
    *("fps", "framerate", "duration", "model", "modelname", "modelid", "modelhash", "modelversion", "checkpoint"),
    *("shift", "flowshift", "sampleshift", "denoise", "denoisingstrength", "strength", "maxsequencelength", "eta"),
    *("samplesperprompt", "numimages", "numimagesperprompt", "numvideosperprompt", "numsamples", "niter", "batchsize"),
)
_NAMED = 30  # columns in a message


@dataclass(frozen=True)
class Roles:
    """What each column is for.

    Attributes:
        prompt: the column of the prompts.
        settings: option -> column.
        metadata: the columns that are kept as they are.
        notes: what was decided, a sentence each.
        doubts: what a person should look at, a sentence each.
    """

    prompt: str
    settings: dict[str, str]
    metadata: list[str]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]


def roles_of(names: Sequence[str], source: PromptSource, header: bool) -> Roles:
    """Decide what each of a file's columns is for.

    Args:
        names: the columns, in the order of the file.
        source: what the user said about them.
        header: whether they are the words of a first line, which may be a prompt itself.

    Raises:
        BadInput: the prompt's column is not there or not the only one, or a column may be meant as an option.
    """
    said = _said(names, source)
    if "" in names[1:] and "" not in said:
        raise BadInput(
            f"{source.location} has a column without a name, number {names.index('') + 1}: name or remove it"
        )
    index = [name for name in names if _INDEX.fullmatch(name) and name not in said]
    names = [name for name in names if name not in index]
    roles = {**said, **_same_but_for_capitals(names, said)}
    notes = [f"{source.location}: column '{name}' is an index and dropped" for name in index]
    if "prompt" not in roles.values():
        prompt = _well_known(names, roles, source, header)
        roles[prompt] = "prompt"
    _refuse_two(roles, source)
    _refuse_near_misses(names, roles, source)
    settings = {role: name for name, role in roles.items() if role in SETTINGS}
    prompt = next(name for name, role in roles.items() if role == "prompt")
    if prompt != "prompt":
        notes.append(f"{source.location}: the prompts are its column '{prompt}'")
    if taken := [f"'{name}' sets {role}" for role, name in settings.items() if name != role]:
        notes.append(f"{source.location}: column {', '.join(taken)}")
    metadata = [name for name in names if roles.get(name, "metadata") == "metadata"]
    others = [name for name in metadata if bare(name) in _OF_THE_RUN and name not in said]
    doubts = (
        [f"{source.location}: every sample is made with the run's own, and metadata alone tells of {listed(others)}"]
        if others
        else []
    )
    return Roles(prompt, settings, metadata, tuple(notes), tuple(doubts))


def listed(names: Sequence[str]) -> str:
    """Return names of columns for a message, which a table of hundreds does not make endless."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def columns_option(columns: dict[str, Any]) -> str:
    """Return ``columns=`` as it can be typed on a command line."""
    escaped = (re.sub(r"([\\()\[\]{}:=,])", r"\\\1", name) for name in columns)
    pairs = (f"{name}: {role}" for name, role in zip(escaped, columns.values(), strict=True))
    return shlex.quote(f"columns={{{', '.join(pairs)}}}")


def _said(names: Sequence[str], source: PromptSource) -> dict[str, str]:
    """Return column -> role, as ``columns=`` and ``prompt_column=`` have it."""
    said: dict[str, str] = {}
    for key, role in source.columns.items():
        if role not in TARGETS:
            raise BadInput(f"columns: '{key}' cannot be taken for {role!r}: choose one of {', '.join(TARGETS)}")
        said[_find(names, str(key), "columns", source)] = role
    if source.prompt_column is not None:
        name = _find(names, source.prompt_column, "prompt_column", source)
        if said.get(name, "prompt") != "prompt":
            raise BadInput(f"prompt_column and columns say different things about '{name}': leave one of them out")
        said[name] = "prompt"
    return said


def _find(names: Sequence[str], key: str, option: str, source: PromptSource) -> str:
    alike = [name for name in names if name.casefold() == key.strip().casefold()]
    if key in alike:
        return key
    if len(alike) == 1:
        return alike[0]
    problem = f"has {listed(alike)}, which differ in capitals" if alike else f"has no column '{key}'"
    raise BadInput(f"{option}: {source.location} {problem}: choose one of {listed(names)}")


def _same_but_for_capitals(names: Sequence[str], said: dict[str, str]) -> dict[str, str]:
    found = {name: name.strip().casefold() for name in names if name not in said}
    taken = {"prompt"} if "prompt" in said.values() else set()  # a column of that name is metadata then
    return {name: role for name, role in found.items() if role in {"prompt", *SETTINGS} - taken}


def _well_known(names: Sequence[str], roles: dict[str, str], source: PromptSource, header: bool) -> str:
    known = [name for name in names if name not in roles and option_meant(name, misspelt=False) == "prompt"]
    if len(known) == 1:
        return known[0]
    if known:
        problem, columns = "several columns that may hold the prompts", known
    else:
        problem, columns = "no column 'prompt'", list(names)
    mend = "give it a first line that names the columns, or " if header and not known else ""
    raise BadInput(f"{source.location} has {problem}: {mend}set prompt_column to one of {listed(columns)}")


def _refuse_two(roles: dict[str, str], source: PromptSource) -> None:
    for role in ("prompt", *SETTINGS):
        same = [name for name, other in roles.items() if other == role]
        if len(same) > 1:
            keep = columns_option({**source.columns, same[-1]: "metadata"})
            raise BadInput(f"{source.location} has several columns for {role}, {listed(same)}: keep one, like {keep}")


def _refuse_near_misses(names: Sequence[str], roles: dict[str, str], source: PromptSource) -> None:
    taken = set(roles.values())
    meant: dict[str, str] = {}
    for name in names:
        option = option_meant(name)
        if name in roles or option == "prompt" or (option is None and bare(name) not in SIZES):
            continue
        meant[name] = option if option is not None and option not in taken else "metadata"
        taken.add(meant[name])
    if meant:
        raise BadInput(
            f"{source.location} has columns that may be meant as options, {listed(list(meant))}: "
            f"say what they are, like {columns_option({**source.columns, **meant})}"
        )
