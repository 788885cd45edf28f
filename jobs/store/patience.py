"""Asks a service on the network, again and again while it is slow or away."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from jobs.base.errors import BadInput

log = logging.getLogger(__name__)
_WAITS = (1, 2, 4, 8, 16, 32)  # seconds between tries, beside what the service's library does
_TELLS = 2  # waits after which it says so, since that was no passing trouble
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
    waits = enumerate(_WAITS)
    while True:
        try:
            return do()
        except (BadInput, FileNotFoundError):
            raise
        except Exception as error:  # each library has errors of its own
            tried, wait = next(waits, (0, None)) if not final(error) else (0, None)
            if wait is None:
                said = f"{where} could not {what} ({_reason(error)})"
                raise BadInput(f"{said}: mend that, and run the same command again, which goes on") from None
            if tried == _TELLS:
                log.warning("%s could not %s yet (%s): trying again for a while", where, what, _reason(error))
        time.sleep(wait)


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())[:_MOST] or "no reason given"
    return f"{type(error).__name__}: {said}"
