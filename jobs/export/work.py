"""Where an export is made: ``DEST.partial``, which becomes ``DEST`` by one rename when all of it is there.

DEST.partial/export.json   what is being exported; another export is refused
DEST.partial/index/        one table for each shard that was read (jobs.export.index)
DEST.partial/pieces/       one record for each file that was written, read back and moved into place
DEST.partial/new/          files in the making
DEST.partial/tars/         tars of runs that are in a store
DEST.partial/out/          what will be DEST
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.base.errors import BadInput
from jobs.export.filters import CHOSEN
from jobs.export.index import STAMP
from jobs.export.source import SourceRun, export_differences
from jobs.store.atomic import byte_lock, fsync_dir, write_json
from jobs.store.process import HOST

STATS = "stats.json"
_LOCK, _BOOT = "lock", b"boot"


class Work:
    """Paths and records of an export that is not finished."""

    def __init__(self, dest: Path):
        self.dest = dest
        self.path = dest.with_name(f"{dest.name}.partial")
        self.out, self.new, self.tars = self.path / "out", self.path / "new", self.path / "tars"
        self._plan = self.path / "export.json"

    def pinned(self) -> dict[str, list[str]]:
        """Return, by run, the names of the shards that an export here began with; empty where it has no file yet."""
        return dict(_json(self._plan).get("shards", {})) if self._has_files() else {}

    def begin(self, described: dict[str, Any], runs: list[SourceRun]) -> None:
        """Make the folders, or go on in those that are there.

        Another export that has no file yet, such as one whose ``where`` was refused, gives way: what was read of its
        shards stays, and is known again by their stamps.

        Raises:
            BadInput: they are another export's, and it has files.
        """
        old = _json(self._plan).get("export")
        if old is not None and old != described and not self._has_files():
            (self.path / CHOSEN).unlink(missing_ok=True)
            old = None
        if old is not None and old != described:
            said = "; ".join(export_differences(old, described))
            raise BadInput(
                f"{self.path} holds another export that is not finished: {said}: "
                "set these back to go on with it, delete it, or choose another destination"
            )
        for folder in (self.out, self.new, self.path / "index", self.path / "pieces"):
            folder.mkdir(parents=True, exist_ok=True)
        if old is None:
            pins = {run.run_id: [shard.name for shard in run.shards] for run in runs}
            write_json(self._plan, {"export": described, "shards": pins})

    def _has_files(self) -> bool:
        """Whether anything of the export is in place."""
        return any(path.is_file() for path in self.out.rglob("*"))

    def index(self, number: int) -> Path:
        """Return where the table of the shard that is the export's ``number``-th source lies."""
        return self.path / "index" / f"{number:06d}.arrow"

    def save_index(self, number: int, table: pa.Table) -> None:
        """Keep a shard's table: until the machine stops, since it is quicker to read shards again than to sync."""
        new = self.new / self.index(number).name
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _BOOT: HOST.encode()})
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)  # shards are done side by side
        with pa.OSFile(str(new), "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
            writer.write_table(table)
        os.replace(new, self.index(number))

    def has_index(self, number: int, stamp: str) -> bool:
        """Whether there is the table of a shard whose tar has this stamp."""
        if not self.index(number).exists():
            return False
        try:
            metadata = self.read_schema(number).metadata or {}
        except pa.ArrowInvalid:  # torn
            return False
        return (metadata.get(_BOOT), metadata.get(STAMP)) == (HOST.encode(), stamp.encode())

    def read_index(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Return a shard's table, or those of some columns that it has."""
        options = pa.ipc.IpcReadOptions(use_threads=False)
        with pa.OSFile(str(self.index(number))) as file:
            if columns is not None:
                names = pa.ipc.open_file(file).schema.names
                options.included_fields = [names.index(one) for one in columns if one in names]
            return pa.ipc.open_file(file, options=options).read_all()

    def read_schema(self, number: int) -> pa.Schema:
        """Return the columns of a shard's table, and its metadata."""
        with pa.OSFile(str(self.index(number))) as file:
            return pa.ipc.open_file(file).schema

    def piece(self, name: str) -> dict[str, Any] | None:
        """Return the record of what was written, None where it was not; by its path in the export."""
        return _json(self._piece(name)) or None

    def save_piece(self, name: str, record: dict[str, Any]) -> None:
        """Note that it is in place."""
        write_json(self._piece(name), record)

    def _piece(self, name: str) -> Path:
        return self.path / "pieces" / f"{name.replace('/', '.')}.json"

    def finish(self) -> None:
        """Make it the destination."""
        for folder, _, _ in os.walk(self.out):
            fsync_dir(Path(folder))
        os.rename(self.out, self.dest)  # an empty folder may be there
        fsync_dir(self.dest.parent)
        self.clear()

    def clear(self) -> None:
        """Remove what is left beside a finished export."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other exports to the same destination out.

        Raises:
            BadInput: there is another one.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with byte_lock(self.path / _LOCK, 0, wait=False) as free:
            if not free:
                raise BadInput(f"another command is exporting to {self.dest}: wait until it ends")
            try:
                yield
            finally:
                if self.path.exists() and os.listdir(self.path) == [_LOCK]:  # refused before it began
                    self.clear()


def check_destination(dest: Path, described: dict[str, Any]) -> bool:
    """Return whether the export is there already.

    Raises:
        BadInput: something else is.
    """
    if not dest.exists() or (dest.is_dir() and not any(dest.iterdir())):
        return False
    other = "choose another destination"
    if not dest.is_dir():
        raise BadInput(f"{dest} is a file: {other}")
    old = _json(dest / STATS).get("export")
    if old is None:
        raise BadInput(f"{dest} holds something that is no export: {other}")
    if old != described:
        raise BadInput(f"{dest} holds another export: {'; '.join(export_differences(old, described))}: {other}")
    return True


def _json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
