"""Where an export is copied to once it is whole, and what all such places have in common.

The first file there is ``stats.json``, which says whose place it is, and the last one is ``SHA256SUMS``: what has that
is whole.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.base.errors import BadInput
from jobs.export.indexes import SUMS
from jobs.export.source import export_differences
from jobs.export.surroundings import CARD
from jobs.export.work import STATS
from jobs.store.tar import hash_file

LAST = (CARD, SUMS)


@dataclass(frozen=True)
class Sent:
    """A finished export.

    Attributes:
        folder: where it lies.
        sums: path -> sha256 of each file, in the order in which they are sent.
        stats: the contents of stats.json.
    """

    folder: Path
    sums: dict[str, str]
    stats: bytes

    @property
    def data(self) -> list[str]:
        """What is sent between the first and the last files."""
        return [name for name in self.sums if name not in (STATS, *LAST)]


class Place(Protocol):
    """Somewhere else."""

    def check(self, described: dict[str, Any]) -> None:
        """See, before anything costly, that it can be reached and holds nothing else.

        Args:
            described: what the export is.

        Raises:
            BadInput: says what to mend.
        """

    def send(self, export: Sent) -> str:
        """Copy what is not there yet, see that all is there as it is here, and return a line that says so.

        Raises:
            BadInput: it could not; the same command goes on.
        """


def finished(folder: Path) -> Sent:
    """Read what a finished export consists of.

    Raises:
        BadInput: there is something else in its folder.
    """
    sums = {**files_of(folder), SUMS: hash_file(folder / SUMS)}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if more := there - sums.keys():
        raise BadInput(_wrong(folder, min(more), "is no file of the export"))
    ordered = [STATS, *(name for name in sums if name not in (STATS, *LAST)), *LAST]
    return Sent(folder, {name: sums[name] for name in ordered}, (folder / STATS).read_bytes())


def files_of(folder: Path) -> dict[str, str]:
    """Return path -> sha256 of the files of a finished export, all of which are there.

    Raises:
        BadInput: one is not.
    """
    if not (folder / SUMS).is_file():
        raise BadInput(_wrong(folder, SUMS, "is missing"))
    lines = (line.partition("  ") for line in (folder / SUMS).read_text().splitlines())
    sums = {name: digest for digest, _, name in lines}
    if lost := [name for name in sums if not (folder / name).is_file()]:
        raise BadInput(_wrong(folder, min(lost), "is missing"))
    return sums


def _wrong(folder: Path, name: str, what: str) -> str:
    return f"{folder / name} {what}: put it right, or delete {folder} and export again"


def check_same(there: dict[str, Any] | None, described: dict[str, Any], where: str) -> None:
    """See that what is there already is a part of the same export.

    Args:
        there: stats.json as it is there; None where there is something and no such file.
        described: what the export is.
        where: how people know the place.

    Raises:
        BadInput: it is not.
    """
    old = (there or {}).get("export")
    if old is None:
        raise BadInput(f"{where} holds something that is no export: choose another place")
    if old != described:
        said = "; ".join(export_differences(old, described))
        raise BadInput(f"{where} holds another export: {said}: choose another place, or empty it")
