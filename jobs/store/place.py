"""Where the files of a run are: in a directory here, and what counts of them in a store's folder if it is in one.

store.json    in the directory: the store's address
"""

import json
import os
from functools import cache
from pathlib import Path

from jobs.base.errors import BadInput
from jobs.store.atomic import create_bytes, write_bytes, write_json
from jobs.store.remote import Remote

_STORE = "store.json"


class Place:
    """A directory here, with the folder of a store.

    Args:
        path: where the run works, and lies unless it is in a store.
        url: the store's folder that it is in; what the directory says of itself where this is not given.

    Raises:
        BadInput: the directory does not say it as it should.
    """

    def __init__(self, path: Path, url: str = ""):
        self.path = path
        self.url = url or _recorded_url(path)

    @property
    def remote(self) -> Remote | None:
        """The store's folder that it is in; None if it is in none.

        Raises:
            BadInput: it is no such address, or what reads it is not installed.
        """
        return _remote(self.url, os.getpid()) if self.url else None

    @property
    def name(self) -> str:
        """Where people find it."""
        return self.url or str(self.path)

    def above(self, levels: int = 1) -> str:
        """Return where people find the folder that it lies in, or one further up: a path as a whole, not as given."""
        return self.url.rsplit("/", levels)[0] if self.url else str(self.path.resolve().parents[levels - 1])

    def name_of(self, path: Path) -> str:
        """Return where people find a record or tar."""
        return f"{self.url}/{self.within(path)}" if self.url else str(path)

    def within(self, path: Path) -> str:
        """Return what a path in it is called below it."""
        return path.relative_to(self.path).as_posix()

    def put(self, path: Path, data: bytes) -> None:
        """Write a record as a whole, first where it counts.

        Raises:
            OSError: the disk does not take it.
            BadInput: the store does not.
        """
        if self.remote:
            self.remote.write(self.within(path), data)
        write_bytes(path, data)

    def put_new(self, path: Path, data: bytes) -> None:
        """Write a record as ``put`` does unless there is one; of several that try at once the first wins."""
        if self.remote:
            data = self.remote.create(self.within(path), data)
        create_bytes(path, data)

    def remove(self, path: Path) -> None:
        """Remove a record, if it is there, first where it counts."""
        if self.remote:
            self.remote.remove(self.within(path))
        path.unlink(missing_ok=True)

    @property
    def mounted(self) -> list[Path]:
        """The store's folder where that is on a file system that is mounted here; none of other places."""
        return [Path(self.url.removeprefix("file://"))] if self.url.startswith("file://") else []

    def check_apart(self) -> None:
        """See that neither the directory nor the store's folder is in the other: what goes here would go there.

        Raises:
            BadInput: they are.
        """
        for folder in self.mounted:
            here, there = self.path.resolve(), folder.resolve()
            if here.is_relative_to(there) or there.is_relative_to(here):
                raise BadInput(f"work_path: {self.path} is in {self.url}, or around it: choose another work_path")

    def record_url(self) -> None:
        """Have the directory say in which store the run is, if it is in one."""
        if self.url:
            write_json(self.path / _STORE, {"url": self.url})


def _recorded_url(path: Path) -> str:
    """Return the address of the store that the run in a directory is in; "" if it is in none."""
    try:
        return str(json.loads((path / _STORE).read_text())["url"])
    except OSError:  # what is wrong with the directory is told where its run.json is read
        return ""
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path / _STORE} cannot be read: restore it, or use another exp_name") from None


@cache
def _remote(url: str, pid: int) -> Remote:
    """Return what asks a store. Libraries of stores have threads, and are of no use to a process forked from theirs."""
    return Remote(url, "output_base_path")
