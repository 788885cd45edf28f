"""What an option is: a dataclass field that says its default, its limits and its help, and the check that follows.

This is the one family of checks: command line, model files and columns of prompt files all go through ``convert``.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from jobs.base.errors import BadInput
from jobs.options.suggest import no_such_option

MISSING: Any = "???"  # omegaconf's, without its import, which takes longer than all else of commands without a config


@dataclass(frozen=True)
class Limits:
    """What values an option takes.

    Attributes:
        kind: int, float, bool, str, dict, or object for what has a check of its own.
        least: smallest number allowed.
        most: largest number allowed.
        choices: the only texts allowed.
        blank: whether a text may be empty.
        words: texts that stand for a value which the program finds.
        optional: whether null stands for a choice made elsewhere.
    """

    kind: type
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    blank: bool = False
    words: tuple[str, ...] = ()
    optional: bool = False

    def convert(self, value: Any) -> Any:
        """Return a value of a config, or a cell of a prompt file, in the option's own type.

        Raises:
            ValueError: it is not of that kind, or out of range.
        """
        if (value is None and self.optional) or (isinstance(value, str) and value in self.words):
            return value
        if self.kind is bool:
            return _require(value, isinstance(value, bool))
        if self.kind in (int, float):
            return self._number(value)
        if self.kind is str:
            return self._text(value)
        return _require(value, self.kind is object or isinstance(value, self.kind))

    def _number(self, value: Any) -> float | int:
        _require(value, isinstance(value, (int, float, str)) and not isinstance(value, bool))
        if self.kind is int:
            number: float | int = int(_require(value, not isinstance(value, float) or value.is_integer()))
        else:
            number = float(value)
            _require(number, math.isfinite(number))
        low = self.least is None or number >= self.least
        _require(number, low and (self.most is None or number <= self.most))
        return number

    def _text(self, value: Any) -> str:
        text = str(_require(value, isinstance(value, (str, int, float)) and not isinstance(value, bool)))
        _require(text, text in self.choices if self.choices else self.blank or bool(text.strip()))
        return text

    @property
    def wanted(self) -> str:
        """What a value must be, to follow "must be"."""
        if len(self.choices) == 1:
            return f"{self.choices[0]} or null"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind is int:
            return " or ".join(["a whole number" + self._range(), *self.words])
        if self.kind is float:
            return "a number" + self._range()
        if self.kind is bool and self.words:
            return f"true, false or {' or '.join(self.words)}"
        return {bool: "true or false", dict: "a mapping like {name: value}"}.get(self.kind, "text")

    def _range(self) -> str:
        if self.least is None:
            return ""
        if self.most is None:
            return f" of at least {self.least:g}"
        return f" from {self.least:g} to {'2^32 - 1' if self.most == 2**32 - 1 else f'{self.most:g}'}"


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    blank: bool = False,
    words: tuple[str, ...] = (),
    short: bool = False,
    shared_by_batch: bool = True,
    fallback: Any = MISSING,
) -> Any:
    """Make the field of an option.

    A default of None stands for a choice made elsewhere, by the model or by the program; such an option is typed as
    what it is once that choice was made, or as optional where it may stay open.

    Args:
        default: its value where nothing is said; MISSING where one must be given.
        help: one or two lines for ``--help`` and the documentation.
        least: smallest number allowed.
        most: largest number allowed.
        choices: the only texts allowed.
        blank: whether a text may be empty.
        words: texts that leave it to the program to find a value; it is typed as that value.
        short: whether it belongs into the README's short table.
        shared_by_batch: of a per-sample option, whether the samples of one pipeline call must share its value.
        fallback: of a per-sample option, its value where prompt, command line and model leave it open; MISSING: none
            of them may leave it open.
    """
    metadata = {
        "help": help,
        "limits": {"least": least, "most": most, "choices": choices, "blank": blank, "words": words},
        "short": short,
        "shared_by_batch": shared_by_batch,
        "fallback": fallback,
    }
    if isinstance(default, (dict, type)):
        factory = default if isinstance(default, type) else lambda: dict(default)
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def choice_of(group: type, default: str, help: str) -> Any:
    """Make the field of a group of options that a file of conf/ fills in, such as ``model=demo``.

    Args:
        group: the dataclass of its options.
        default: the file that is taken where none is named.
        help: as for ``option``.
    """
    return dataclasses.field(default_factory=group, metadata={"help": help, "file": default, "short": True})


def limits_of(group: type, name: str) -> Limits:
    """Return the limits of the option ``name`` of a dataclass of options."""
    field = next(field for field in dataclasses.fields(group) if field.name == name)
    kind = get_type_hints(group)[name]
    named = [part for part in get_args(kind) if part is not type(None)] if type(None) in get_args(kind) else [kind]
    plain = get_origin(named[0]) or named[0]
    limits = field.metadata["limits"]
    return Limits(plain if plain in (int, float, bool, str, dict) else object, **limits, optional=field.default is None)


def check_group(values: Mapping[str, Any], group: type, prefix: str = "", known: Iterable[str] = ()) -> dict[str, Any]:
    """Return the options of a dataclass in their own types.

    Args:
        values: option name -> value, as the config has it.
        group: the dataclass of options; parts that are dataclasses themselves are left alone.
        prefix: stands before each name in a message, such as "model.".
        known: full names of all options, to suggest the right one for a wrong one.

    Raises:
        BadInput: an option is unknown, missing or out of range; names it and what it must be.
    """
    names = [field.name for field in dataclasses.fields(group)]
    for name in sorted(set(values) - set(names)):
        raise BadInput(no_such_option(f"{prefix}{name}", known, values[name]))
    hints = get_type_hints(group)
    checked = {}
    for name in names:
        if name not in values or values[name] == MISSING:
            raise BadInput(f"{prefix}{name} is missing: give it a value, like {prefix}{name}=...")
        part = dataclasses.is_dataclass(hints[name])
        checked[name] = values[name] if part else check(f"{prefix}{name}", values[name], limits_of(group, name))
    return checked


def check(name: str, value: Any, limits: Limits) -> Any:
    """Return ``value`` in its own type.

    Raises:
        BadInput: names the option and what it must be.
    """
    try:
        return limits.convert(value)
    except (ValueError, OverflowError):
        raise BadInput(must_be(name, limits, value)) from None


def must_be(name: str, limits: Limits, value: Any) -> str:
    """Return the sentence about a value that an option does not take."""
    return f"{name} must be {limits.wanted}, not {shown(value)}"


def shown(value: Any) -> str:
    """Return a value as it is written on the command line: null, true, false, and quotes around text."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    short = f"{value:g}" if isinstance(value, float) else repr(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _require(value: Any, right: bool) -> Any:
    if not right:
        raise ValueError(value)
    return value
