"""A folder of an object store or of a mounted file system, through fsspec: ``s3://BUCKET/FOLDER``.

A file is there whole or not at all, and counts once it was read back there and hashed. A store that is slow or away for
a while is asked again (``jobs.store.patience``); what it says for good is one sentence.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

from jobs.base.errors import BadInput, first_line
from jobs.store.address import open_address
from jobs.store.atomic import create_bytes, replace, sync, write_bytes
from jobs.store.patience import ask
from jobs.store.ranged import Ranged
from jobs.store.tar import hash_file

_CHUNK = 8 << 20  # bytes that are read back at once
_FINAL = ("NoCredentialsError", "ProfileNotFound", "DefaultCredentialsError")  # of libraries that need not be there
_GARBLED = ("FlexibleChecksumError", "ChecksumError")  # what is read is not what the store was given
_TRIAL = ".write-check"
T = TypeVar("T")


class Remote:
    """A folder elsewhere. Names are paths below it.

    Args:
        url: where it is; ``file:///FOLDER`` is on a file system that is mounted here.
        option: by which the user gave it.

    Raises:
        BadInput: it is no such address, or what reads it is not installed.
    """

    def __init__(self, url: str, option: str):
        self._fs, self._root, self._put = open_address(url, option)
        self.url, self._mounted = url.rstrip("/"), url.startswith("file://")

    def check(self) -> None:
        """See that the bucket is there, or that the file system can be written.

        Raises:
            BadInput: says what is in the way.
        """
        if self._mounted:
            folder = Path(self._root)
            there = next(parent for parent in (folder, *folder.parents) if parent.exists())
            if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
                raise BadInput(f"{self.url} cannot be written, because of {there}: choose another folder")
            return
        bucket = self._root.partition("/")[0]
        if not self._ask("be listed", lambda: self._fs.exists(bucket)):
            raise BadInput(f"{self.url}: there is no bucket {bucket}, or it is not yours: make it first")

    def try_writing(self) -> None:
        """See that files can be written, by one that is removed again.

        Raises:
            BadInput: says what is in the way.
        """
        self.check()
        if self._mounted:
            return
        self._ask("be written", lambda: self._fs.pipe_file(self._path(_TRIAL), b""))
        try:
            self.remove(_TRIAL)
        except BadInput:  # it may be a store that keeps everything
            return

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return name -> bytes of all files, or of those below one folder; none where there is no such folder."""
        top = self._path(folder) if folder else self._root
        try:
            found = self._ask("be listed", lambda: self._fs.find(top, detail=True))
        except FileNotFoundError:
            return {}
        names = ((path.removeprefix(f"{self._root}/"), one["size"]) for path, one in found.items())
        return {name: size for name, size in names if not is_left(Path(name))}

    def read(self, name: str) -> bytes:
        """Return a small file's contents.

        Raises:
            FileNotFoundError: there is none.
        """
        data: bytes = self._ask("be read", lambda: self._fs.cat_file(self._path(name)))
        return data

    def open(self, name: str, size: int) -> BinaryIO:
        """Return a file to read from, of which only what is asked for is fetched.

        Args:
            name: its name.
            size: how many bytes it has.
        """
        return io.BufferedReader(Ranged(lambda start, end: self._range(name, start, end), size), 1 << 20)

    def fetch(self, name: str, file: IO[bytes], size: int) -> None:
        """Copy a file of so many bytes into one here."""
        for start in range(0, size, _CHUNK):
            file.write(self._range(name, start, min(start + _CHUNK, size)))

    def create(self, name: str, data: bytes) -> bytes:
        """Write a small file unless there is one; of several that try at once the first wins.

        Returns:
            What is there now.
        """
        path = self._path(name)

        def create() -> None:
            try:
                if self._mounted:
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                    create_bytes(Path(path), data)
                else:
                    self._fs.pipe_file(path, data, mode="create")
            except Exception:  # each store has an error of its own for what is there already
                if not self._fs.exists(path):
                    raise

        try:
            return self.read(name)
        except FileNotFoundError:
            self._ask(f"take {name}", create)
            return self.read(name)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file as a whole, in place of one that is there."""

        def write() -> None:
            if self._mounted:
                Path(self._path(name)).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(Path(self._path(name)), data)
            else:
                self._into_bucket(lambda: self._fs.pipe_file(self._path(name), data))
            if self._fs.cat_file(self._path(name)) != data:
                raise OSError(f"{name} was read back with other bytes than were sent")

        self._ask(f"take {name}", write)

    def send(self, here: Path, name: str, sha256: str, *, changed: str) -> None:
        """Copy a file there if it is not there with these bytes, and see that it is.

        Args:
            here: the file.
            name: what it is called there.
            sha256: of its bytes.
            changed: what to say if it has others.

        Raises:
            BadInput: it could not be.
        """

        def send() -> None:
            size = here.stat().st_size
            if self._has(name, size, sha256):
                return
            self._place(here, self._path(name))
            if not self._has(name, size, sha256):
                if hash_file(here) != sha256:
                    raise BadInput(changed)
                raise OSError(f"{name} was read back with other bytes than were sent")

        self._ask(f"take {name}", send)

    def has(self, name: str, size: int, sha256: str) -> bool:
        """Return whether a file is there with these bytes; all are read."""
        return self._ask("be read", lambda: self._has(name, size, sha256))

    def mark(self, name: str) -> list[Any] | None:
        """Return what tells a file's contents from others, unread; None where there is none."""
        try:
            info = self._ask(f"tell of {name}", lambda: self._fs.info(self._path(name)))
        except FileNotFoundError:
            return None
        return [info["size"], *(str(info[name]) for name in ("ETag", "etag", "mtime") if name in info)]

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._ask(f"remove {name}", lambda: self._fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def sweep(self) -> None:
        """Remove what a command that was killed left on a file system; a store keeps no halves."""
        if self._mounted:
            for path in Path(self._root).rglob(".*"):
                if is_left(path):
                    path.unlink(missing_ok=True)

    def _place(self, here: Path, there: str) -> None:
        """Put a file there as a whole: a store does so itself, on a file system a rename does."""
        if self._mounted:
            new = Path(there).with_name(f".{here.name}.part")
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(here, new)
            sync(new)
            replace(new, Path(there))
            return
        self._into_bucket(lambda: self._fs.put_file(str(here), there, **self._put))

    def _into_bucket(self, put: Callable[[], object]) -> None:
        try:
            put()
        except FileNotFoundError as error:
            raise BadInput(f"{self.url} is not there any more ({first_line(error)}): make its bucket again") from None

    def _has(self, name: str, size: int, sha256: str) -> bool:
        path = self._path(name)
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

    def _range(self, name: str, start: int, end: int) -> bytes:
        data: bytes = self._ask("be read", lambda: self._fs.cat_file(self._path(name), start=start, end=end))
        return data

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, what: str, do: Callable[[], T]) -> T:
        return ask(self.url, what, do, final=_is_final)


def is_left(path: Path) -> bool:
    """Whether it is a file in the making, of this module's or of ``jobs.store.atomic``'s."""
    return path.name.startswith(".") and path.suffix in (".part", ".tmp")


def _is_final(error: Exception) -> bool:
    """Whether the store said so for good."""
    return isinstance(error, PermissionError) or type(error).__name__ in _FINAL
