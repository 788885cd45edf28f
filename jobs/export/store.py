"""Exports in object stores and on mounted file systems: ``dest=s3://BUCKET/FOLDER``.

What was read back there (``jobs.store.remote``) is noted beside the export here, with the mark by which the store tells
contents apart, so that a command that was killed does not read it again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.base.together import together
from jobs.export.indexes import SUMS
from jobs.export.upload import LAST, Sent, check_same
from jobs.export.work import STATS
from jobs.store.remote import Remote

_AT_ONCE = 8  # files


class Store:
    """A folder of a store.

    Args:
        url: where it is.

    Raises:
        BadInput: it is no such address, or what reads it is not installed.
    """

    def __init__(self, url: str):
        self._remote = Remote(url, "dest")
        self.url = self._remote.url

    def check(self, described: dict[str, Any]) -> None:
        """See ``Place``."""
        self._remote.check()
        if self._remote.sizes():
            check_same(self._stats(), described, self.url)

    def send(self, export: Sent) -> str:
        """See ``Place``."""
        notes = _Notes(export.folder, self.url)
        if not self._is_whole(export):
            found = json.loads(self._remote.create(STATS, export.stats))  # says whose place it is
            check_same(found, json.loads(export.stats)["export"], self.url)
            together(lambda name: self._bring(export, name, notes), export.data, _AT_ONCE)
            self._remote.sweep()
            for name in LAST:
                self._bring(export, name, notes)
            if not self._is_whole(export):
                raise BadInput(f"{self.url} lost files while they were sent: run the same command again")
        notes.clear()
        return f"{self.url}: {len(export.sums)} files, sizes and hashes as here"

    def _bring(self, export: Sent, name: str, notes: "_Notes") -> None:
        """Send a file if it is not there, and see that it is."""
        here = export.folder / name
        if not notes.has(name, self._remote.mark(name)):
            changed = f"{here} has other bytes than {SUMS} says: delete {export.folder} and export again"
            self._remote.send(here, name, export.sums[name], changed=changed)
            notes.add(name, self._remote.mark(name))

    def _is_whole(self, export: Sent) -> bool:
        """Whether the last file is there as it is here, and all others are of their sizes."""
        sizes = self._remote.sizes()
        if any(sizes.get(name) != (export.folder / name).stat().st_size for name in export.sums):
            return False
        return self._remote.has(SUMS, sizes[SUMS], export.sums[SUMS])

    def _stats(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._remote.read(STATS))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None


class _Notes:
    """Which files were seen whole at the other end: lines beside the export, read leniently."""

    def __init__(self, folder: Path, url: str):
        digest = hashlib.sha256(url.encode()).hexdigest()[:8]
        self._path = folder.with_name(f"{folder.name}.sent-{digest}")
        self._seen: dict[str, list[Any]] = {}
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                try:
                    name, mark = json.loads(line)
                except ValueError:  # torn
                    continue
                self._seen[name] = mark

    def has(self, name: str, mark: list[Any] | None) -> bool:
        return mark is not None and self._seen.get(name) == mark

    def add(self, name: str, mark: list[Any] | None) -> None:
        if not self.has(name, mark):
            with open(self._path, "a") as file:
                file.write(json.dumps([name, mark]) + "\n")

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)
