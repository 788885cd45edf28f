"""What a measurement was made on, and what else ran on it meanwhile."""

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "pillow", "pyarrow", "torch", "webdataset")


def describe(scratch: Path, libraries: tuple[str, ...] = LIBRARIES) -> dict[str, Any]:
    """The machine, as far as its numbers depend on it.

    Args:
        scratch: a directory on the disk that is measured.
        libraries: installed ones whose versions matter.
    """
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "file_system": _file_system(scratch),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
    }


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


def peak_mb() -> float:
    """The most memory this process ever had resident, in MB.

    Not ``ru_maxrss`` where that can be helped: a process inherits that one from whoever started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    try:
        mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    path = folder.resolve()
    device, _, kind = max((m for m in mounts if path.is_relative_to(m[1])), key=lambda m: len(m[1]))
    return f"{kind} on {Path(device).name}"


def _busy_seconds() -> float:
    """Seconds all cores together were busy since the start of the system; 0 where the system does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
