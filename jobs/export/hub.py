"""Exports on the Hugging Face hub: ``hub=OWNER/NAME``, by the hub's own client.

It knows the sha256 of large files and git's hash of small ones, which it computed of what it received: these are
compared, and no file is read back.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from jobs.base.errors import BadInput
from jobs.export.indexes import SUMS
from jobs.export.surroundings import CARD
from jobs.export.upload import Sent, check_same
from jobs.export.work import STATS
from jobs.options.fields import shown
from jobs.store.patience import ask

_KIND = "dataset"
_OF_ITSELF = {".gitattributes"}  # what a new repository has
_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
T = TypeVar("T")


class Hub:
    """A data set's repository.

    Args:
        name: ``OWNER/NAME``.

    Raises:
        BadInput: it is no such name.
    """

    def __init__(self, name: str):
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise BadInput(f"hub must be OWNER/NAME of a data set on the Hugging Face hub, not {shown(name)}")
        from huggingface_hub import HfApi

        self._api, self._name = HfApi(), name
        self.url = f"{self._api.endpoint}/datasets/{name}"

    def check(self, described: dict[str, Any]) -> None:
        """See ``Place``."""
        from huggingface_hub import get_token

        if not get_token():
            raise BadInput(f"hub={self._name} needs to know who you are: hf auth login, or set HF_TOKEN")
        self._ask("tell who you are", self._api.whoami)
        there = self._files()
        if there is not None and there.keys() - _OF_ITSELF:
            check_same(self._stats(there), described, self.url)

    def send(self, export: Sent) -> str:
        """See ``Place``."""
        there = self._files()
        if there is None:
            self._ask("be made", self._create)
            there = self._files() or {}
        all_but_card = [name for name in export.sums if name != CARD]  # which may be edited there since
        if _lacking(export, there, all_but_card):
            self._claim(export, there)
            self._ask("take the files", lambda: self._upload(export.folder))
            self._see(export, [STATS, *export.data])
            self._commit(export, [SUMS], "Say that all is there")
            self._see(export, all_but_card)
        return f"{self.url}: {len(export.sums)} files, sizes and hashes as here"

    def _claim(self, export: Sent, there: dict[str, Any]) -> None:
        """Say whose repository it is, unless somebody else was first.

        The card comes with it: the hub looks through its head, and what it refuses is better known now.
        """
        if self._stats(there) is None:
            head = self._ask("be read", lambda: self._api.repo_info(self._name, repo_type=_KIND)).sha
            try:
                self._commit(export, [STATS, CARD], "Begin", parent=head)
            except BadInput:
                if self._stats(self._files() or {}) is None:
                    raise
        check_same(self._stats(self._files() or {}), json.loads(export.stats)["export"], self.url)

    def _create(self) -> None:
        self._api.create_repo(self._name, repo_type=_KIND, private=True, exist_ok=True)

    def _upload(self, folder: Path) -> None:
        self._api.upload_folder(
            repo_id=self._name,
            repo_type=_KIND,
            folder_path=folder,
            ignore_patterns=[STATS, CARD, SUMS],
            commit_message="Add the data",
        )

    def _commit(self, export: Sent, names: list[str], message: str, parent: str | None = None) -> None:
        from huggingface_hub import CommitOperationAdd

        def commit() -> None:
            added = [CommitOperationAdd(name, str(export.folder / name)) for name in names]
            self._api.create_commit(self._name, added, repo_type=_KIND, commit_message=message, parent_commit=parent)

        self._ask(f"take {' and '.join(names)}", commit)

    def _see(self, export: Sent, names: Sequence[str]) -> None:
        if lacking := _lacking(export, self._files() or {}, names):
            raise BadInput(f"{self.url} has not got {lacking} as it is here: run the same command again")

    def _files(self) -> dict[str, Any] | None:
        """Return what the repository holds, by path; None where there is none."""
        from huggingface_hub import RepoFile
        from huggingface_hub.errors import RepositoryNotFoundError

        def listed() -> dict[str, Any] | None:
            try:
                found = list(self._api.list_repo_tree(self._name, recursive=True, repo_type=_KIND))
            except RepositoryNotFoundError:
                return None
            return {one.path: one for one in found if isinstance(one, RepoFile)}

        return self._ask("be listed", listed)

    def _stats(self, there: dict[str, Any]) -> dict[str, Any] | None:
        """Return stats.json as it is there."""
        if STATS not in there:
            return None

        def read() -> Any:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    path = self._api.hf_hub_download(self._name, STATS, repo_type=_KIND, local_dir=folder)
                except FileNotFoundError as error:  # so it says that it could not connect
                    raise ConnectionError(str(error)) from error
                return json.loads(Path(path).read_text())

        try:
            found = self._ask("be read", read)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _ask(self, what: str, do: Callable[[], T]) -> T:
        return ask(self.url, what, do, final=_is_final)


def _lacking(export: Sent, there: dict[str, Any], names: Sequence[str]) -> str | None:
    """Return a file that is not there as it is here; None where all are."""
    return next((name for name in names if not _is_there(export, name, there.get(name))), None)


def _is_there(export: Sent, name: str, file: Any) -> bool:
    path = export.folder / name
    if file is None or file.size != path.stat().st_size:
        return False
    if file.lfs:
        return bool(file.lfs.sha256 == export.sums[name])
    data = path.read_bytes()  # small, or it would be with the large ones
    return bool(file.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def _is_final(error: Exception) -> bool:
    """Whether the hub said so for good."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return isinstance(error, (ValueError, PermissionError)) or (400 <= status < 500 and status not in _AGAIN)
