"""Functions of tests in processes of their own, forked from one that has the libraries, the embedded model and them.

multiprocessing has one fork server in a process, which imports what whoever starts it first has asked for, and a later
list is not heeded. So there is one list for all tests: with several, most forks would import everything anew.
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

PRELOADED = (
    *("tests.execute.warm", "tests.execute.test_kills", "tests.execute.test_calibration", "tests.parallel.ranks"),
    "tests.execute.test_store",
    *("jobs.export.__main__", "pandas", "pyarrow.parquet", "tests.export.test_kills"),
)
_context = multiprocessing.get_context("forkserver")


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that calls a function of a module."""
    _context.set_forkserver_preload(list(PRELOADED))
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process
