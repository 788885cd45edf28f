"""Validators of the numbers that users give: each returns the number, or raises an error that names the option."""

import math
import operator
from typing import SupportsIndex, cast

from spectrum.errors import SpectrumError


def whole_number(option: str, value: object, *, least: int) -> int:
    """Check a whole number.

    Args:
        option: What the error calls it.
        value: An integer, or whatever else a user gave.
        least: The smallest number that is allowed.

    Returns:
        The number, as an int.

    Raises:
        SpectrumError: It is no whole number (a bool is none) or too small.
    """
    try:
        number = operator.index(cast(SupportsIndex, value))
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise SpectrumError(f"must be a whole number of at least {least}, not {value!r}", option=option)
    return number


def real_number(option: str, value: object, *, least: float, most: float = math.inf) -> float:
    """Check a finite number from `least` to `most`.

    Args:
        option: What the error calls it.
        value: An int or a float, or whatever else a user gave.
        least: The smallest number that is allowed.
        most: The largest number that is allowed; infinity for no limit.

    Returns:
        The number, as a float.

    Raises:
        SpectrumError: It is no finite number (a bool is none) or out of range.
    """
    number = _finite(value)
    if number is None or not least <= number <= most:
        limits = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise SpectrumError(f"must be a number {limits}, not {value!r}", option=option)
    return number


def positive_number(option: str, value: object) -> float:
    """Check a finite number above 0.

    Args:
        option: What the error calls it.
        value: An int or a float, or whatever else a user gave.

    Returns:
        The number, as a float.

    Raises:
        SpectrumError: It is no finite number (a bool is none), 0 or less.
    """
    number = _finite(value)
    if number is None or number <= 0:
        raise SpectrumError(f"must be a number above 0, not {value!r}", option=option)
    return number


def _finite(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
