"""The most memory that this process held. Without torch, whose import alone would be most of it."""

import resource
from pathlib import Path


def peak_mb() -> float:
    """Return the most memory this process ever had resident, in MB.

    ``ru_maxrss`` is only the fallback: a process inherits it from whoever started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
