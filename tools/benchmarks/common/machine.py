"""What a measurement was made on. Without torch, so that small processes can be measured."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.base.machine import processor_name

LIBRARIES = ("numpy", "pillow", "pyarrow", "torch", "webdataset")


def describe(scratch: Path, libraries: tuple[str, ...] = LIBRARIES) -> dict[str, Any]:
    """Describe the machine as far as its numbers depend on it.

    Args:
        scratch: Directory on the disk that is measured.
        libraries: Installed ones whose versions matter.
    """
    return {
        "cpu": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "file_system": _file_system(scratch),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
    }


def versions(machine: dict[str, Any]) -> str:
    """Return the versions of a machine's libraries as text."""
    return ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())


def results_file(folder: Path, benchmark: str, device: str) -> Path:
    """Return the path of a benchmark's results on a device of that name, such as ``speed-amd-epyc.json``."""
    return folder / f"{benchmark}-{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


def _file_system(folder: Path) -> str:
    try:
        mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    path = folder.resolve()
    device, _, kind = max((m for m in mounts if path.is_relative_to(m[1])), key=lambda m: len(m[1]))
    return f"{kind} on {Path(device).name}"
