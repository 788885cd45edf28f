"""The part of a log that tells why a process ended."""

import os
import re
from pathlib import Path

TAIL = 64 * 1024  # bytes read from the end of a log
# Lines that follow every end of a task and say nothing about it.
_NOISE = re.compile(
    r"^(srun: error: .*: task \d+: (Exited with exit code|Killed|Terminated)|srun: Terminating|srun: launch/slurm|"
    r"srun: Job step aborted|slurmstepd: error: \*\*\* (STEP|JOB) .* CANCELLED)"
)
_STAMPED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ (INFO|WARNING|ERROR|CRITICAL)")


def tail(path: Path) -> list[str]:
    """Return the last lines of a file without those that say nothing; [] where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return []
    return [line.rstrip() for line in lines if line.strip() and not _NOISE.match(line)]


def last_words(path: Path, most: int = 3) -> str:
    """Return the last lines of a log in one line; "" where it has none."""
    lines = tail(path)
    trace = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if trace:  # what was raised, rather than where
        raised = [line for line in lines[trace[-1] + 1 :] if line[:1].strip() and not _STAMPED.match(line)]
        lines = raised[:most] or lines
    return " | ".join(line.strip() for line in lines[-most:])


def failing_part(path: Path, most: int = 60) -> list[str]:
    """Return the lines of a log from its last traceback or error on; its last lines where it has neither."""
    lines = tail(path)
    starts = [
        number
        for number, line in enumerate(lines)
        if line.startswith("Traceback (most recent call last)") or re.search(r"\b(ERROR|CRITICAL|Fatal)\b", line)
    ]
    # Exceptions that followed from one another are one story.
    first = next((at for at in starts if at >= len(lines) - most), None)
    return lines[first:] if first is not None else lines[-most // 3 :]
