"""Command lines of paths and options, for commands that Hydra does not read."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from jobs.base.errors import BadInput
from jobs.options.fields import check_group, shown

_WORD = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)
_PLAIN = {"null": None, "true": True, "false": False}


def split_words(words: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Split a command line into paths and options, which may stand in any order.

    A word is an option where letters and ``=`` begin it; a folder of such a name is written ``./w=0.5``.

    Raises:
        BadInput: an option is given twice.
    """
    paths, given = [], dict[str, Any]()
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            paths.append(word)
            continue
        name, value = match.groups()
        if name in given:
            raise BadInput(f"{name} is given twice: leave one of them out")
        given[name] = _PLAIN.get(value, value)
    return paths, given


def read_group(given: dict[str, Any], group: type, command: str, more: Sequence[str] = ()) -> Any:
    """Return the options of a dataclass, those that are not given at their defaults.

    Args:
        given: option -> value.
        group: the dataclass.
        command: for messages, such as "jobs.export".
        more: names that the command takes beside these, for messages.

    Raises:
        BadInput: an option does not exist, or has a value that it does not take.
    """
    known = [*(one.name for one in fields(group)), *more]
    for name in sorted(given.keys() - {*known}):
        raise BadInput(f"there is no option '{name}': {command} takes {', '.join(known)}")
    defaults = {one.name: one.default for one in fields(group) if one.default is not MISSING}
    return group(**check_group({**defaults, **given}, group))


def group_help(group: type) -> str:
    """Return the options of a dataclass as ``--help`` shows them, a line each."""
    rows = [(f"{one.name}={_default(one.default)}", _meaning(one.metadata)) for one in fields(group)]
    return "\n".join(f"  {name}\n{'':26}{said}" if len(name) > 24 else f"  {name:<24}{said}" for name, said in rows)


def group_table(group: type) -> str:
    """Return the options of a dataclass as a table of the documentation."""
    rows = [f"| `{one.name}` | `{_default(one.default)}` | {_meaning(one.metadata)} |" for one in fields(group)]
    return "\n".join(["| option | default | meaning |", "| -- | -- | -- |", *rows])


def _default(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _meaning(metadata: Any) -> str:
    choices = metadata["limits"]["choices"]
    return f"{metadata['help']}: {', '.join(choices)}" if choices else str(metadata["help"])
