"""Exports in object stores and on mounted file systems, through fsspec: ``dest=s3://BUCKET/FOLDER``.

Each file is read back there and hashed before it counts; what was is noted beside the export here, with the mark by
which the store tells contents apart, so that a command that was killed does not read it again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from jobs.base.errors import BadInput, first_line
from jobs.export.formats import sync
from jobs.export.indexes import SUMS
from jobs.export.patience import ask
from jobs.export.tars import hash_file
from jobs.export.upload import LAST, Sent, check_same
from jobs.export.work import STATS
from jobs.options.fields import shown
from jobs.store.atomic import create_bytes, replace

# What has to be installed, arguments of the file system, and of its ``put_file``: some 250 MB are under way at most.
_KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "s3": ("s3fs", {"max_concurrency": 2, "use_listings_cache": False}, {"chunksize": 16 << 20}),
    "gs": ("gcsfs", {"use_listings_cache": False}, {"chunksize": 16 << 20}),
    "file": ("fsspec", {"auto_mkdir": True}, {}),
}
_AT_ONCE = 8  # files
_CHUNK = 8 << 20  # bytes that are read back at once
_FINAL = ("NoCredentialsError", "ProfileNotFound", "DefaultCredentialsError")  # of libraries that need not be there
_GARBLED = ("FlexibleChecksumError", "ChecksumError")  # what is read is not what the store was given
T = TypeVar("T")


class Store:
    """A folder of a store.

    Args:
        url: where it is; ``file:///FOLDER`` is on a file system that is mounted here.

    Raises:
        BadInput: it is no such address, or what reads it is not installed.
    """

    def __init__(self, url: str):
        kind, _, path = url.partition("://")
        if kind not in _KINDS or not path.strip("/"):
            form = "s3://bucket/folder, gs://bucket/folder or file:///folder"
            raise BadInput(f"dest must be an address like {form}, not {shown(url)}")
        library, options, self._put = _KINDS[kind]
        try:
            from fsspec.core import url_to_fs

            self._fs, self._root = url_to_fs(url.rstrip("/"), skip_instance_cache=True, **options)
        except ImportError:
            raise BadInput(f"dest={url} needs {library}: pip install {library}") from None
        self.url, self._mounted = url.rstrip("/"), kind == "file"

    def check(self, described: dict[str, Any]) -> None:
        """See ``Place``."""
        if self._mounted:
            _check_writable(Path(self._root), self.url)
        try:
            names = self._ask("be listed", lambda: self._fs.ls(self._root, detail=False))
            if any(not _is_left(Path(name)) for name in names):
                check_same(self._stats(), described, self.url)
        except FileNotFoundError:  # nothing is there yet
            bucket = self._root.partition("/")[0]
            if bucket and not self._ask("be listed", lambda: self._fs.exists(bucket)):
                raise BadInput(f"{self.url}: there is no bucket {bucket}, or it is not yours: make it first") from None

    def send(self, export: Sent) -> str:
        """See ``Place``."""
        notes = _Notes(export.folder, self.url)
        if not self._is_whole(export):
            self._claim(export)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                try:
                    list(pool.map(lambda name: self._bring(export, name, notes), export.data))
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
            self._sweep()
            for name in LAST:
                self._bring(export, name, notes)
            if not self._is_whole(export):
                raise BadInput(f"{self.url} lost files while they were sent: run the same command again")
        notes.clear()
        return f"{self.url}: {len(export.sums)} files, sizes and hashes as here"

    def _claim(self, export: Sent) -> None:
        """Say whose place it is, unless somebody else was first."""
        path = self._path(STATS)

        def create() -> None:
            try:
                if self._mounted:
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                    create_bytes(Path(path), export.stats)
                else:
                    self._fs.pipe_file(path, export.stats, mode="create")
            except Exception:  # each store has an error of its own for what is there already
                if self._stats() is None:
                    raise

        if self._stats() is None:
            self._ask(f"take {STATS}", create)
        check_same(self._stats(), json.loads(export.stats)["export"], self.url)

    def _bring(self, export: Sent, name: str, notes: "_Notes") -> None:
        """Send a file if it is not there, and see that it is."""
        here, there, sha256 = export.folder / name, self._path(name), export.sums[name]

        def bring() -> None:
            if notes.has(name, self._mark(there)) or self._has(there, here.stat().st_size, sha256):
                return
            self._place(here, there)
            if not self._has(there, here.stat().st_size, sha256):
                if hash_file(here) != sha256:
                    raise BadInput(f"{here} has other bytes than {SUMS} says: delete {export.folder} and export again")
                raise OSError(f"{name} was read back with other bytes than were sent")

        self._ask(f"take {name}", bring)
        notes.add(name, self._mark(there))

    def _place(self, here: Path, there: str) -> None:
        """Put a file there as a whole: a store does so itself, on a file system a rename does."""
        if self._mounted:
            new = Path(there).with_name(f".{here.name}.part")
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(here, new)
            sync(new)
            replace(new, Path(there))
            return
        try:
            self._fs.put_file(str(here), there, **self._put)
        except FileNotFoundError as error:
            raise BadInput(f"{self.url} is not there any more ({first_line(error)}): make its bucket again") from None

    def _sweep(self) -> None:
        """Remove what a command that was killed left on a file system; a store keeps no halves."""
        if self._mounted:
            for path in Path(self._root).rglob(".*"):
                if _is_left(path):
                    path.unlink(missing_ok=True)

    def _is_whole(self, export: Sent) -> bool:
        """Whether the last file is there as it is here, and all others are of their sizes."""
        try:
            found = self._ask("be listed", lambda: self._fs.find(self._root, detail=True))
        except FileNotFoundError:
            return False
        sizes = {path.removeprefix(f"{self._root}/"): one["size"] for path, one in found.items()}
        if any(sizes.get(name) != (export.folder / name).stat().st_size for name in export.sums):
            return False
        return bool(self._ask("be read", lambda: self._has(self._path(SUMS), sizes[SUMS], export.sums[SUMS])))

    def _has(self, path: str, size: int, sha256: str) -> bool:
        """Whether a file is there with these bytes; all are read."""
        try:
            if self._fs.info(path)["size"] != size:
                return False
            if self._mounted:
                return hash_file(Path(path)) == sha256
            digest = hashlib.sha256()
            for start in range(0, size, _CHUNK):
                digest.update(self._fs.cat_file(path, start=start, end=min(start + _CHUNK, size)))
        except FileNotFoundError:
            return False
        except Exception as error:
            if type(error).__name__ in _GARBLED:
                return False
            raise
        return digest.hexdigest() == sha256

    def _mark(self, path: str) -> list[Any] | None:
        """Return what tells a file's contents from others; None where there is none."""
        try:
            info = self._fs.info(path)
        except FileNotFoundError:
            return None
        return [info["size"], *(str(info[name]) for name in ("ETag", "etag", "mtime") if name in info)]

    def _stats(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._ask("be read", lambda: self._fs.cat_file(self._path(STATS))))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, what: str, do: Callable[[], T]) -> T:
        return ask(self.url, what, do, final=_is_final)


def _is_final(error: Exception) -> bool:
    """Whether the store said so for good."""
    return isinstance(error, PermissionError) or type(error).__name__ in _FINAL


def _check_writable(folder: Path, url: str) -> None:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(f"{url} cannot be written, because of {there}: choose another folder")


def _is_left(path: Path) -> bool:
    """Whether it is a file in the making, of this module's or of ``jobs.store.atomic``'s."""
    return path.name.startswith(".") and path.suffix in (".part", ".tmp")


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
