"""Runs in stores as sources of an export: their records for as long as it is made, and their tars beside it."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jobs.base.disk import human_bytes
from jobs.base.errors import BadInput
from jobs.base.together import together
from jobs.export.source import Shard, SourceRun
from jobs.export.work import Work
from jobs.store.atomic import replace, sync
from jobs.store.mirror import opened, pull
from jobs.store.mirror_scores import pull_scores
from jobs.store.rundir import RunDir
from jobs.store.tar import hash_file

_AT_ONCE = 4  # tars: one connection seldom fills a line


@contextmanager
def opened_runs(places: Sequence[str]) -> Iterator[list[RunDir]]:
    """Open runs, with the records that those in stores have at present.

    Args:
        places: their directories, or addresses in a store.

    Raises:
        BadInput: a store does not answer, or has no run there.
    """
    with ExitStack() as stack:
        directories = [stack.enter_context(opened(place)) for place in places]
        for place, directory in zip(places, directories, strict=True):
            if "://" not in place:
                pull(directory)  # where a run in a store works there may be older ones
            pull_scores(directory)
        yield directories


def fetch_tars(runs: Sequence[SourceRun], work: Work) -> int:
    """Bring tars of runs in stores here that are not here yet; return how many there were to bring.

    Args:
        runs: of the export.
        work: has a folder for the copies.

    Raises:
        BadInput: a store does not answer or has other bytes, or the disk has no room.
    """
    missing = [shard for run in runs for shard in run.shards if shard.copy and not shard.copy.exists()]
    needed, free = sum(shard.size for shard in missing), shutil.disk_usage(work.new).free
    if needed > free:
        raise BadInput(
            f"{work.dest.parent} has {human_bytes(free)} free and the tars of runs in stores need "
            f"{human_bytes(needed)}: free some and run the same command again, or choose another destination"
        )
    together(lambda shard: _fetch(shard, work), missing, _AT_ONCE)
    return len(missing)


def _fetch(shard: Shard, work: Work) -> None:
    directory, tar = shard.directory, shard.directory.tar(shard.number)
    assert shard.copy
    begun = work.new / ".".join(shard.copy.relative_to(work.tars).parts)
    try:
        with open(begun, "wb") as file:
            directory.fetch_tar(shard.number, file)
        whole = hash_file(begun) == shard.sha256
    except FileNotFoundError:
        raise BadInput(f"{directory.name_of(tar)} is missing although its run says it is done: put it back") from None
    if not whole:
        raise BadInput(
            f"{directory.name_of(tar)} has other bytes than its run recorded: restore it, or delete "
            f"{directory.name_of(directory.done_record(shard.number))} and the tar and finish the run to make the "
            "shard again"
        )
    sync(begun)
    shard.copy.parent.mkdir(parents=True, exist_ok=True)
    replace(begun, shard.copy)
