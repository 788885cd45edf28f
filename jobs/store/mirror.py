"""Keeps the copies that a run's directory has of a store's records in step with the store, whose records are the truth.

A command does so when it begins. While it works, its own processes write to both; what other machines with directories
of their own publish meanwhile is asked for shard by shard.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.base.errors import BadInput
from jobs.base.together import together
from jobs.store.atomic import write_bytes
from jobs.store.remote import Remote
from jobs.store.rundir import RunDir, numbers

_RECORDS = ("config.yaml", "calibration.json", "run.json")  # the last one makes it a run


def pull(run: RunDir) -> None:
    """Bring a run's records here as the store has them; nothing where the run is in no store, or has not begun.

    Raises:
        BadInput: the store does not answer; it has lost what the run had there; or this directory is of another run.
    """
    remote = run.remote
    if remote is None:
        return
    if (recorded := RunDir(run.path).url) != run.url and run.exists():
        whose = f"works for {recorded}" if recorded else "holds a run of its own"
        raise BadInput(f"{run.path} {whose}, not for {run.url}: choose another work_path")
    before = run.done_shards()  # not later: another process may publish meanwhile, there first and then here
    sizes = remote.sizes()
    if "run.json" not in sizes:
        if run.exists():
            raise BadInput(
                f"{run.url} has no run.json any more, and {run.path} worked for it: restore it, or remove {run.path} "
                "to begin again"
            )
        return
    _pull(run, remote, sizes, before)


def _pull(run: RunDir, remote: Remote, sizes: dict[str, int], before: set[int]) -> None:
    done, tars = _shards(sizes, "done/", ".json"), _shards(sizes, "data/", ".tar")
    if (lost := sorted(done - tars)) and "config.yaml" in sizes:  # and else it is what a scorer made
        tar, record = (run.name_of(path) for path in (run.tar(lost[0]), run.done_record(lost[0])))
        raise BadInput(
            f"{tar} is missing although {record} says it is done: "
            "put the tar back, or delete that record to make the shard again"
        )
    run.make_folders()
    pull_shards(run, remote, sizes, before)
    if run.calibration.exists() and run.within(run.calibration) not in sizes:
        run.calibration.unlink(missing_ok=True)
    _copy(run, remote, [run.path / name for name in _RECORDS if name in sizes])
    for name in sorted({name.partition("/")[0] for name in sizes if name.startswith("retry-")}):
        own = {rest.removeprefix(f"{name}/"): size for rest, size in sizes.items() if rest.startswith(f"{name}/")}
        one = run.below(name)
        if "run.json" in own and one.remote:
            _pull(one, one.remote, own, one.done_shards())


def pull_shards(run: RunDir, remote: Remote, sizes: dict[str, int], before: set[int]) -> None:
    """Bring the sidecars and done records of shards here.

    Args:
        run: whose they are.
        remote: the store's folder that it is in.
        sizes: name -> bytes of the files there.
        before: shards that were done here before those were listed: which are not done there, are not any more.
    """
    done = _shards(sizes, "done/", ".json")
    for shard in before - done:
        run.done_record(shard).unlink(missing_ok=True)
    for paths in (map(run.sidecar, done), map(run.done_record, done)):
        wanted = [path for path in paths if run.within(path) in sizes and not _is_here(run, path, sizes)]
        _copy(run, remote, wanted, gone_ok=True)  # another machine may take a record back that was listed


def is_published(run: RunDir, shard: int) -> bool:
    """Return whether a shard is done, in the store too: a machine with a directory of its own may have made it.

    Raises:
        BadInput: the store does not answer.
    """
    if run.is_done(shard):
        return True
    if run.remote is None:
        return False
    try:
        data = run.remote.read(run.within(run.done_record(shard)))
        _copy(run, run.remote, [run.sidecar(shard)])
    except FileNotFoundError:
        return False
    if not run.is_whole(shard, json.loads(data)):
        return False
    write_bytes(run.done_record(shard), data)
    return True


def bring_records(run: RunDir, shard: int) -> None:
    """Have the sidecar and the done record of a shard here as the store has them.

    Raises:
        FileNotFoundError: it lacks one.
        BadInput: it does not answer.
    """
    if run.remote:
        _copy(run, run.remote, [run.sidecar(shard), run.done_record(shard)])


def bring_back(run: RunDir, shard: int) -> None:
    """Have the tar and the sidecar of a done shard here again, since it is going to have more samples."""
    if run.remote:
        with open(run.tar(shard), "wb") as file:
            run.fetch_tar(shard, file)
        _copy(run, run.remote, [run.sidecar(shard)])


@contextlib.contextmanager
def opened(place: str) -> Iterator[RunDir]:
    """Open a run by its directory, or by its address in a store for as long as the block lasts.

    Raises:
        BadInput: the store does not answer, or has no run there.
    """
    if "://" not in place:
        yield RunDir(Path(place))
        return
    with TemporaryDirectory(prefix="jobs-") as folder:
        url = place.rstrip("/")
        run = RunDir(Path(folder) / url.rpartition("/")[2], url)
        pull(run)
        if not run.exists():
            raise BadInput(f"{url} is not a run: it has no run.json")
        yield run


def working_directory(place: str) -> Path:
    """Return a path that must be a directory here.

    Raises:
        BadInput: it is an address.
    """
    if "://" in place:
        raise BadInput(f"{place} is in a store: name the directory where the run works, like outputs/NAME")
    return Path(place)


def _shards(sizes: Iterable[str], folder: str, suffix: str) -> set[int]:
    return numbers((name.removeprefix(folder) for name in sizes if name.startswith(folder)), suffix)


def _is_here(run: RunDir, path: Path, sizes: dict[str, int]) -> bool:
    return path.exists() and path.stat().st_size == sizes.get(run.within(path))


def _copy(run: RunDir, remote: Remote, paths: list[Path], *, gone_ok: bool = False) -> None:
    """Bring records here, where they are others than here, or not here."""

    def copy(path: Path) -> None:
        try:
            data = remote.read(run.within(path))
        except FileNotFoundError:
            if gone_ok:
                return
            raise
        if not path.exists() or path.read_bytes() != data:
            write_bytes(path, data)

    together(copy, paths[:-1])
    for path in paths[-1:]:
        copy(path)
