"""Does the same to many things that mostly wait, such as for a store: some at once, in threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def together(do: Callable[[T], Any], things: Iterable[T], at_once: int = 16) -> None:
    """Do it to all of them; after an error to no more, once those in hand are done.

    Args:
        do: the deed.
        things: the things.
        at_once: threads.

    Raises:
        Exception: the error of the first that has one.
    """
    with ThreadPoolExecutor(at_once) as pool:
        try:
            list(pool.map(do, things))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
