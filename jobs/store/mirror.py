"""Keeps the copies that a run's directory has of a store's records in step with the store, whose records are the truth.

A command does so when it begins. While it works, its own processes write to both; what other machines with directories
of their own publish meanwhile is asked for shard by shard.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.base.errors import BadInput
from jobs.base.together import together
from jobs.store.address import check_address
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
        raise BadInput(f"{run.path} {whose}, not for {run.url}: choose another work_path, or exp_name")
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
    _pull_shards(run, remote, sizes, before)
    if run.calibration.exists() and run.within(run.calibration) not in sizes:
        run.calibration.unlink(missing_ok=True)
    _copy(run, remote, [run.path / name for name in _RECORDS if name in sizes])
    for name in sorted({name.partition("/")[0] for name in sizes if name.startswith("retry-")}):
        own = {rest.removeprefix(f"{name}/"): size for rest, size in sizes.items() if rest.startswith(f"{name}/")}
        one = run.below(name)
        if "run.json" in own and one.remote:
            _pull(one, one.remote, own, one.done_shards())


def _pull_shards(run: RunDir, remote: Remote, sizes: dict[str, int], before: set[int]) -> None:
    done = _shards(sizes, "done/", ".json")
    for shard in before - done:
        run.done_record(shard).unlink(missing_ok=True)
    for paths in (map(run.sidecar, done), map(run.done_record, done)):
        _copy(run, remote, [path for path in paths if run.within(path) in sizes and not _is_here(run, path, sizes)])


def pull_scores(run: RunDir) -> None:
    """Bring what was measured of a run's samples here as the store has it (``jobs.store.scores``).

    Raises:
        BadInput: the store does not answer.
    """
    remote = run.remote
    if remote is None:
        return
    known = [run.below(path.parent.relative_to(run.path).as_posix()) for path in run.path.glob("scores/*/run.json")]
    before = {one.path.name: one.done_shards() for one in known}  # not later: see above
    sizes = remote.sizes("scores")
    for name in sorted({*before, *(name.split("/")[1] for name in sizes)}):
        one, top = run.below(f"scores/{name}"), f"scores/{name}/"
        own = {path.removeprefix(top): size for path, size in sizes.items() if path.startswith(top)}
        _pull_scorer(one, own, before.get(name, set()))


def _pull_scorer(one: RunDir, sizes: dict[str, int], before: set[int]) -> None:
    record = one.path / "run.json"
    assert one.remote
    data = one.remote.read("run.json") if "run.json" in sizes else b""
    if record.exists() and record.read_bytes() != data:  # tables of other scores may have the sizes of these
        record.unlink()
        for folder in (one.done, one.meta):
            shutil.rmtree(folder, ignore_errors=True)
    if data:
        for folder in (one.done, one.meta):
            folder.mkdir(parents=True, exist_ok=True)
        one.record_url()
        _pull_shards(one, one.remote, sizes, before)
        write_bytes(record, data)


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
    except FileNotFoundError:
        return False
    if not run.is_whole(shard, json.loads(data)):
        return False
    _copy(run, run.remote, [run.sidecar(shard)])
    write_bytes(run.done_record(shard), data)
    return True


def bring_back(run: RunDir, shard: int) -> None:
    """Have the tar and the sidecar of a done shard here again, since it is going to have more samples."""
    if run.remote:
        with open(run.tar(shard), "wb") as file:
            run.fetch_tar(shard, file)
        _copy(run, run.remote, [run.sidecar(shard)])


@contextmanager
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


def working(place: str, work_path: Path) -> RunDir:
    """Open a run to add to it: by its directory, or in ``work_path`` by its address; a store's records come here.

    Raises:
        BadInput: the store does not answer, has no run there, or the directory is another run's.
    """
    url = place.rstrip("/") if "://" in place else ""
    if url:
        check_address(url, "the run")
    run = RunDir(Path(work_path) / url.rpartition("/")[2], url) if url else RunDir(Path(place).expanduser())
    run.check_apart()
    pull(run)
    if run.url and not run.exists():
        raise BadInput(f"{run.url} is not a run: it has no run.json")
    pull_scores(run)
    return run


def _shards(sizes: Iterable[str], folder: str, suffix: str) -> set[int]:
    return numbers((name.removeprefix(folder) for name in sizes if name.startswith(folder)), suffix)


def _is_here(run: RunDir, path: Path, sizes: dict[str, int]) -> bool:
    return path.exists() and path.stat().st_size == sizes.get(run.within(path))


def _copy(run: RunDir, remote: Remote, paths: list[Path]) -> None:
    """Bring records here, where they are others than here, or not here."""

    def copy(path: Path) -> None:
        data = remote.read(run.within(path))
        if not path.exists() or path.read_bytes() != data:
            write_bytes(path, data)

    together(copy, paths[:-1])
    for path in paths[-1:]:
        copy(path)
