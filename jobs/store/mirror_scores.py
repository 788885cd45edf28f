"""Opens runs to score them: brings the scores here that their stores have, as ``mirror`` does with other records."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.store.address import check_address
from jobs.store.atomic import byte_lock, write_bytes
from jobs.store.mirror import bring_records, pull, pull_shards
from jobs.store.remote import Remote
from jobs.store.rundir import RunDir
from jobs.store.scores import has_its_table


def working(place: str, work_path: Path, option: str = "the run") -> RunDir:
    """Open a run to add to it: by its directory, or in ``work_path`` by its address; a store's records come here.

    Args:
        place: the directory or address.
        work_path: where runs that are given by their addresses work.
        option: by which the user gave it.

    Raises:
        BadInput: the store does not answer, has no run there, or the directory is another run's.
    """
    url = place.rstrip("/") if "://" in place else ""
    if url:
        check_address(url, option)
    run = RunDir(Path(work_path) / url.rpartition("/")[2], url) if url else RunDir(Path(place).expanduser())
    run.check_apart()
    pull(run)
    if run.url and not run.exists():
        raise BadInput(f"{run.url} is not a run: it has no run.json")
    pull_scores(run)
    return run


def pull_scores(run: RunDir) -> None:
    """Bring what was measured of a run's samples here as the store has it (``jobs.store.scores``).

    Raises:
        BadInput: the store does not answer.
    """
    remote = run.remote
    if remote is None:
        return
    known = [run.below(path.parent.relative_to(run.path).as_posix()) for path in run.path.glob("scores/*/run.json")]
    before = {one.path.name: one.done_shards() for one in known}  # not later: see ``pull``
    sizes = remote.sizes("scores")
    for name in sorted({*before, *(name.split("/")[1] for name in sizes)}):
        one, top = run.below(f"scores/{name}"), f"scores/{name}/"
        own = {path.removeprefix(top): size for path, size in sizes.items() if path.startswith(top)}
        assert one.remote
        with byte_lock(run.work / "scores.lock", 0):  # others must not bring here meanwhile what goes
            data = _drop_others(one, one.remote, own)
        if data:
            _pull_scorer(one, one.remote, own, before.get(name, set()))
            write_bytes(one.path / "run.json", data)


def _drop_others(one: RunDir, remote: Remote, sizes: dict[str, int]) -> bytes:
    """Remove what is here of scores that are not those in the store; return the store's run.json, or nothing."""
    record = one.path / "run.json"
    here = _if_there(record.read_bytes)  # before the store is asked, where it is made first
    there = _if_there(lambda: remote.read("run.json")) if here or "run.json" in sizes else b""
    if here and here != there:  # tables of other scores may have the sizes of these
        # What attempts failed at is of no account where scoring began anew; else others may be at work there.
        anew = [one.work] if _identity(here) != _identity(there) else []
        for folder in (one.done, one.meta, *anew):
            shutil.rmtree(folder, ignore_errors=True)
        record.unlink(missing_ok=True)
    return there


def _pull_scorer(one: RunDir, remote: Remote, sizes: dict[str, int], before: set[int]) -> None:
    for folder in (one.done, one.meta):
        folder.mkdir(parents=True, exist_ok=True)
    one.record_url()
    pull_shards(one, remote, sizes, before)
    for shard in sorted(one.done_shards()):  # of machines that scored it at once each may have sent one of the two
        if not has_its_table(one, shard):
            with contextlib.suppress(FileNotFoundError):
                bring_records(one, shard)


def _if_there(read: Callable[[], bytes]) -> bytes:
    """Return a record's contents; nothing where there is none."""
    try:
        return read()
    except FileNotFoundError:
        return b""


def _identity(record: bytes) -> Any:
    """Return what is measured, as the contents of a run.json say."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return json.loads(record)["identity"]
    return None
