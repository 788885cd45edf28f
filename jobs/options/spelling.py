"""Options as words of a command line, for those that Python code sets."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from numbers import Integral, Real
from typing import Any

from jobs.options.texts import quoted


def words_of(options: Any, prefix: str = "") -> list[str]:
    """Return the options of a dataclass that are other than their defaults, as ``key=value``.

    Args:
        options: the dataclass; parts that are dataclasses themselves are gone through likewise.
        prefix: stands before each name, such as "algo.".
    """
    words = []
    for one in fields(options):
        value = getattr(options, one.name)
        if is_dataclass(value):
            words += words_of(value, f"{prefix}{one.name}.")
        elif value != (one.default if one.default_factory is MISSING else one.default_factory()):
            words.append(f"{prefix}{one.name}={spelled(value)}")
    return words


def spelled(value: Any) -> str:
    """Return a value as Hydra's grammar has it, so that it is read as it is: texts are quoted."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(name)}: {spelled(one)}' for name, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(spelled, value))}]"
    return quoted(str(value))


def _key(name: object) -> str:
    """Return the key of a mapping, which Hydra does not take in quotes."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", str(name))
