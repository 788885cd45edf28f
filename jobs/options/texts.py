"""Options that are text, as they stand on a command line: taken literally, and swept only where that is asked for.

Hydra's grammar reads ``1e3`` as a number, ``a, b`` as two values and stumbles over an apostrophe. A path, a name or a
negative prompt is none of that, so such values are put into Hydra's quotes before it sees them.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from jobs.base.errors import BadInput
from jobs.options.fields import limits_of
from jobs.options.schema import Options

_OPTION = re.compile(r"(\+{0,2}([\w.]+)=)(.*)", re.DOTALL)
_QUOTED = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_ELEMENT = re.compile(rf"\s*({_QUOTED}|[^,]*?)\s*(?:,|$)", re.DOTALL)


def literal(arguments: Sequence[str], *, sweep: bool = False) -> list[str]:
    """Return the options of a command line with those that are text quoted for Hydra; others are as given.

    ``null``, a value in quotes of its own, and ``${...}`` within a text keep their meaning. ``choice(a, b)`` names
    several values, with ``sweep`` also ``[a, b]``.

    Args:
        arguments: options as typed: ``key=value``, ``+key=value``, ``~key``.
        sweep: whether ``-m`` makes a run of each of several values.

    Raises:
        BadInput: with ``sweep``, a comma that may be meant either way.
    """
    return [_one(argument, sweep) for argument in arguments]


def quoted(text: str) -> str:
    """Return a text as Hydra's grammar has it, in quotes."""
    return QuotedString(text, Quote.single).with_quotes()


def unquoted(value: str) -> str:
    """Return the text of a value in quotes; other values are as given."""
    if not re.fullmatch(_QUOTED, value, re.DOTALL):
        return value
    return str(OverridesParser.create().parse_rule(value, "element").text)


@cache
def text_options() -> frozenset[str]:
    """Return the full names of the options that are free text."""

    def collect(group: Any, prefix: str) -> list[str]:
        names = []
        for one in fields(group):
            kind = get_type_hints(group)[one.name]
            if is_dataclass(kind):
                names += collect(kind, f"{prefix}{one.name}.")
            else:
                limits = limits_of(group, one.name)
                names += [f"{prefix}{one.name}"] if limits.kind is str and not limits.choices else []
        return names

    return frozenset(collect(Options, ""))


def _one(argument: str, sweep: bool) -> str:
    match = _OPTION.fullmatch(argument)
    if match is None or match[2] not in text_options():
        return argument
    start, name, value = match.groups()
    if value in ("", "null") or re.fullmatch(_QUOTED, value, re.DOTALL):
        return argument
    if several := re.fullmatch(r"\s*choice\((.*)\)\s*" + (r"|\s*\[(.*,.*)\]\s*" if sweep else ""), value, re.DOTALL):
        inside = next(part for part in several.groups() if part is not None)
        return start + ",".join(_elements(name, inside))
    if sweep and "," in value:
        one, each = QuotedString(value, Quote.double).with_quotes(), f"choice({value})"
        other = "" if name == "exp_name" else f", or {shlex.quote(f'{name}={each}')} for a run of each"
        raise BadInput(
            f"{name} holds a comma, which -m could take either way: "
            f"write {shlex.quote(f'{name}={one}')} for one text{other}"
        )
    return f"{start}{quoted(value)}"


def _elements(name: str, inside: str) -> list[str]:
    """Split ``a, 'b, c'`` at its commas; each element comes back quoted, or is null."""
    elements = [match[1] for match in _ELEMENT.finditer(inside) if match[0]]
    return [_element(name, element) for element in elements]


def _element(name: str, element: str) -> str:
    if element == "null" or re.fullmatch(_QUOTED, element, re.DOTALL):
        return element
    if not element or re.search(r"[()\[\]{}]", element):
        problem = "holds a bracket" if element else "is empty"
        raise BadInput(f"{name}: the value '{element}' of several {problem}: put it in quotes, like choice('a', '(b)')")
    return quoted(element)
