"""What a user can mend, told apart from what is a bug."""

import sys
from typing import NoReturn


class BadInput(Exception):
    """A mistake in what the user gave; the message is one sentence that names it and how to mend it."""


class Unfinished(Exception):
    """Work ended with samples or shards left over; the message says which and why."""


def first_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its text."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{type(error).__name__}: {lines[0]}"


def refuse(sentence: str) -> NoReturn:
    """End the command over a mistake in what the user gave: one line on standard error, exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
