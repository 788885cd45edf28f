"""Asks a service on the network, again and again while it is slow or away."""

import time
from collections.abc import Callable
from typing import TypeVar

from jobs.base.errors import BadInput

_WAITS = (1, 2, 4, 8, 16, 32)  # seconds between tries, beside what the service's library does
_MOST = 400  # characters of a reason
T = TypeVar("T")


def ask(where: str, what: str, do: Callable[[], T], *, final: Callable[[Exception], bool]) -> T:
    """Return what a call brings.

    Args:
        where: the service, as people know it.
        what: what it is asked to do: to follow "could not".
        do: the call.
        final: whether an error is said for good.

    Raises:
        BadInput: it refuses, or went on to fail.
        FileNotFoundError: there is nothing of that name.
    """
    waits = iter(_WAITS)
    while True:
        try:
            return do()
        except (BadInput, FileNotFoundError):
            raise
        except Exception as error:  # each library has errors of its own
            wait = None if final(error) else next(waits, None)
            if wait is None:
                reason = " ".join(str(error).split())[:_MOST] or "no reason given"
                said = f"{where} could not {what} ({type(error).__name__}: {reason})"
                raise BadInput(f"{said}: mend that, and run the same command again, which goes on") from None
        time.sleep(wait)
