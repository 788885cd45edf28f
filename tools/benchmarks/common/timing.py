"""How long something took, and what else kept the machine busy meanwhile. Without torch."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def median_seconds(
    action: Callable[[], T], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[T, float]:
    """Run an action several times.

    Args:
        action: What is timed.
        repeats: How often, at least once.
        clock: Returns seconds.

    Returns:
        The last result, and the median of the seconds.
    """
    seconds = []
    for _ in range(repeats):
        start = clock()
        result = action()
        seconds.append(clock() - start)
    return result, statistics.median(seconds)


@contextmanager
def watched(section: dict[str, Any]) -> Iterator[None]:
    """Add to ``section`` when it was measured, how long that took, and how busy other processes kept the cores."""
    start, busy, own = time.perf_counter(), _busy_seconds(), _own_seconds()
    yield
    seconds = time.perf_counter() - start
    others = max(0.0, _busy_seconds() - busy - (_own_seconds() - own)) / seconds
    section["date"] = time.strftime("%Y-%m-%d")
    section["seconds"] = round(seconds, 1)
    section["cores_busy_elsewhere"] = round(others, 2)


def _busy_seconds() -> float:
    """Return the seconds all cores together were busy since the start of the system; 0 where it does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
