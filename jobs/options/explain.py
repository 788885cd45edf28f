"""Turns what Hydra and OmegaConf say of a command line into one sentence that names the mistake and the mend."""

import json
import re
import shlex
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from hydra.errors import OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from jobs.options.fields import limits_of, must_be
from jobs.options.schema import Options
from jobs.options.suggest import no_such_option, not_a_model

_GROUPS = ("model", "algo")  # each a folder of conf/


def explain(error: Exception) -> str:
    """Return one sentence from an error of Hydra or OmegaConf."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _explain_unreadable(error.override, text)
    full_key = re.search(r"full_key: (\S+)", text)
    if match := re.match(r"Ambiguous value for argument '(([^=]+)=([^\n]*))'\n", text):
        return _explain_several(*match.groups())
    if match := re.match(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match[1]} has a value already: change it without the sign +, like {match[1]}=..."
    if match := re.match(r"Sweeping over Hydra's configuration is not supported : '([^=]+)=(.*)'", text):
        quoted = shlex.quote(f'{match[1]}="{match[2]}"')
        return f"{match[1]} cannot be swept: give one value, and one that holds a comma in quotes, like {quoted}"
    if match := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in ", text):
        given = re.search(r"To append to your config use \+[^=]+=(.*)", text)
        return _explain_unknown(match[1] or (full_key[1] if full_key else match[2]), given[1] if given else None)
    if "Config group override must be a string" in text:
        return "model and algo each take the name of a file in conf/model and conf/algo, like model=demo"
    if match := re.search(r"(?:Could not find|In '[^']*': Could not find) '([^']+)'", text):
        return _explain_choice(match[1], text)
    if match := re.search(r"In '([^']+)': ValidationError.*?\n(.*?)\n", text):
        return _explain_file(match[1], full_key[1] if full_key else "", match[2].strip())
    if sentence := _explain_value(error):
        return sentence
    return " ".join(text.split())


def _explain_unreadable(override: str, text: str) -> str:
    """Say where Hydra's grammar stumbled over an option."""
    key, equals, value = override.partition("=")
    name = key.lstrip("+~")
    if not equals:
        return f"'{override}' gives no value: write option=value"
    if _unknown(name):
        return _explain_unknown(name, value)
    if name == "model" and re.match(r"[~./]", value):
        return str(not_a_model(value))
    caret = re.search(r"^( *)\^$", text, re.MULTILINE)
    token = re.search(r"input '(.*?)'(?: expecting|\n|$)", text, re.DOTALL)
    place = len(key) + 1
    if caret:  # which stands below "LexerNoViableAltException: OVERRIDE"
        place = len(caret[1]) - len("LexerNoViableAltException: ")
    elif token and token[1] in override:
        sign = re.search(r"[^\w\s.]", token[1])
        place = override.rindex(token[1]) + (sign.start() if sign else 0)
    return (
        f"'{override}' cannot be read from its character {place + 1} on, {override[place : place + 1]!r}: put a value "
        "that holds commas, brackets, quotes or the like in quotes of its own, like 'option=\"a, b\"'"
    )


def _explain_several(argument: str, name: str, value: str) -> str:
    if _unknown(name.lstrip("+")):
        return _explain_unknown(name.lstrip("+"), value)
    return (
        f"{argument} names several values for {name}: give one, "
        "or use -m to make a run of each, or put a value that holds a comma in quotes of its own"
    )


def _unknown(name: str) -> bool:
    return "/" not in name and name not in option_names() and name.partition(".")[0] not in (*_GROUPS, "hydra")


def _explain_file(file: str, name: str, problem: str) -> str:
    """Say what is wrong with a file of options: the option, if one is at fault, else Hydra's own words."""
    value = re.match(r"Value '(.*?)' of type", problem)
    if name not in option_names() or value is None:
        return f"the file {file}.yaml cannot be read: {problem}"
    group, _, key = name.rpartition(".")
    return f"{file}.yaml: {must_be(name, limits_of(_group_at(group), key), value[1])}"


def _explain_choice(choice: str, text: str) -> str:
    group, _, name = choice.partition("/") if choice.startswith("model/") else choice.rpartition("/")
    choices = re.search(r"Available options in '[^']*':\s*(.*?)\s*(?:\n\s*\n|Config search path|$)", text, re.DOTALL)
    known = ", ".join(choices[1].split()) if choices else "none"
    if group == "model" and (sentence := not_a_model(name)):
        return sentence
    return f"{group}={name} is not known: choose one of {known}"


def _explain_unknown(name: str, value: str | None = None) -> str:
    if name in _GROUPS:
        return f"{name} takes the name of a file in conf/{name}: one part of it is set with {name}.KEY=value"
    if name in ("model.call", "model.scheduler_args"):
        return f"what {name} holds is added to it: write '+{name}={value or '{...}'}'"
    if name.startswith(("model.call.", "model.scheduler_args.")):  # what these may hold, the pipeline decides
        return f"'{name}' is not there yet: add it with +{name}=value"
    return no_such_option(name, option_names(), value)


def _explain_value(error: Exception) -> str | None:
    """Name an option and what it must be, where a value is of another type; None for other errors."""
    cause: BaseException | None = error
    while cause and not (isinstance(cause, OmegaConfBaseException) and cause.full_key):
        cause = cause.__cause__
    if cause is None:
        return None
    name = str(cause.full_key)  # type: ignore[attr-defined]
    group, _, key = name.rpartition(".")
    owner = _group_at(group)
    if match := re.match(r"Value (.*?) (?:of type .*)?could not be converted to (Integer|Float|Boolean)", str(cause)):
        wanted = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}[match[2]]
        if owner is None:  # of the launcher's settings
            return f"{name} must be {wanted}, not {match[1]}"
    if owner is None and "is not a ListConfig" in str(cause):
        given = re.search(rf"override '?\+*{re.escape(name)}=(.*)", str(error))
        value = given[1].rstrip("'") if given else "..."
        return f"{name} takes a list: write {shlex.quote(f'{name}=[{json.dumps(value)}]')}"
    if owner is None or key not in {field.name for field in fields(owner)}:
        return f"{name}: {str(cause).splitlines()[0]}: give a value, or refer to something that exists"
    if is_dataclass(get_type_hints(owner)[key]):
        if name in _GROUPS:
            return _explain_unknown(name)
        parts = [field.name for field in fields(get_type_hints(owner)[key])]
        return f"{name} has the parts {', '.join(parts)}: set one of them, like {name}.{parts[0]}=2"
    if isinstance(cause, InterpolationResolutionError):
        return f"{name}: {str(cause).splitlines()[0]}: give a value, or refer to something that exists"
    match = re.search(rf"override '?\+*{re.escape(name)}=(.*)", str(error))
    if match is None:
        return f"{name} is missing: give it a value, like {name}=..."
    limits = limits_of(owner, key)
    if limits.kind is str and "${" in match[1]:
        return f"{name}: what follows '${{' is no reference to another option: write \\${{ for these characters"
    return must_be(name, limits, _as_typed(match[1]))


def _as_typed(typed: str) -> Any:
    """Return a value as the command line has it: text with quotes, everything else without."""
    typed = typed.strip().rstrip("'")
    if re.fullmatch(r"null|true|false|[-+.\d][-+.\deE]*|[\[{].*", typed):
        return _Bare(typed)
    return typed.strip("'\"")


class _Bare(str):
    """Shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _group_at(path: str) -> Any:
    group: Any = Options
    for part in filter(None, path.split(".")):
        group = get_type_hints(group).get(part) if is_dataclass(group) else None
    return group if is_dataclass(group) else None


def option_names() -> list[str]:
    """Return the full names of all options."""
    names: list[str] = []

    def collect(group: Any, prefix: str) -> None:
        for name, kind in get_type_hints(group).items():
            if is_dataclass(kind):
                collect(kind, f"{prefix}{name}.")
            else:
                names.append(f"{prefix}{name}")

    collect(Options, "")
    return names
