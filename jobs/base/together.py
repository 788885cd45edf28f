"""Does the same to many things, some at once, in threads: they wait for a store, or hash, which leaves Python free."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def together(do: Callable[[T], R], things: Iterable[T], at_once: int = 16) -> list[R]:
    """Do it to all of them; after an error to no more, once those in hand are done. Return what came of each, in order.

    Args:
        do: the deed.
        things: the things.
        at_once: threads.

    Raises:
        Exception: the error of the first that has one.
    """
    with ThreadPoolExecutor(at_once) as pool:
        try:
            return list(pool.map(do, things))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
