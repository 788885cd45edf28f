"""What the nodes of a partition have: bounds for what a task asks for by itself."""

import re
from dataclasses import dataclass

from jobs.execute import queue


@dataclass(frozen=True)
class Machine:
    """The most that any node of a partition has, and the partition gives; None where that is not known.

    Attributes:
        cpus: of the node that has most.
        memory_gb: likewise, in whole GB as Slurm counts them, of 1024 MB.
        minutes: longest time limit.
    """

    cpus: int | None = None
    memory_gb: int | None = None
    minutes: int | None = None


def largest_machine(partition: str | None) -> Machine:
    """Return the bounds of a partition, of the default one where none is named."""
    # --exact: else nodes that differ share a line, with the least of each
    answer = queue.ask("sinfo", "--noheader", "--exact", "--format=%P|%c|%m|%l", *queue.of_partition(partition))
    listing = answer or ""
    rows = [row for line in listing.splitlines() if len(row := line.split("|")) == 4]
    return read_machine(rows if partition else [row for row in rows if row[0].endswith("*")])


def read_machine(rows: list[list[str]]) -> Machine:
    """Return the bounds that rows of partition, CPUs, megabytes and time limit tell."""
    cpus = [int(row[1]) for row in rows]
    megabytes = [int(row[2]) for row in rows]
    limits = [minutes for row in rows if (minutes := read_minutes(row[3])) is not None]
    return Machine(max(cpus, default=None), max(megabytes, default=0) // 1024 or None, max(limits, default=None))


def read_minutes(text: str) -> int | None:
    """Return a time limit as Slurm writes it (``1-12:30:00``, ``30:00``) in minutes; None for none."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if not found:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (24 * days + hours) * 60 + minutes
