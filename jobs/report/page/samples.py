"""The samples that a report shows, read from sidecars and tars: what is known of each, its json, its thumbnail."""

import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from jobs.base.errors import BadInput, first_line
from jobs.options.schema import IMAGE_FORMATS
from jobs.report.page.choose import Done, shares
from jobs.report.page.thumbnails import clip_thumbnail, image_thumbnail
from jobs.store.scores import KEYS, ScoreDir, score_dirs, tar_hash
from jobs.store.sidecar import FAILED
from jobs.store.tar import BLOCK, parse_header

LARGE, FEW, SMALL = 256, 1_000, 128  # pixels of a side of a thumbnail, where there are at most so many, and else
_AT_ONCE = min(8, len(os.sched_getaffinity(0)))  # most of the time is decoding, which other threads need not wait for
_VIDEO = "mp4"


@dataclass
class Entry:
    """A sample of a report.

    Attributes:
        values: what is known of it, by column; prompt, status and reason among it.
        info: its json; empty for a sample that was given up.
        tar: path of its tar from the run's directory.
        extension: the kind of its image or clip.
        start: byte of the tar at which that begins.
        size: bytes of it.
        thumbnail: a jpg; empty where there is none.
        frames: how many frames of a clip the thumbnail has, side by side.
        trouble: why there is no thumbnail of a sample that was made.
    """

    key: str
    values: dict[str, Any]
    info: str = ""
    tar: str = ""
    extension: str = ""
    start: int = 0
    size: int = 0
    thumbnail: bytes = b""
    frames: int = 1
    trouble: str = ""
    evaluated: tuple[int, ...] = field(default=(), repr=False)


def read_entries(done: list[Done], most: int) -> list[Entry]:
    """Read at most ``most`` samples that were made, spread over all, and as many that were given up.

    A sample that a later pass has made is not given up. What cannot be read is said in its entry and ends nothing.

    Args:
        done: the run's finished shards, later passes behind.
        most: how many.
    """
    made = shares([one.samples for one in done], most)
    lost = shares([one.failed for one in done], most)
    side = LARGE if sum(map(len, made)) <= FEW else SMALL
    scorers = {one.directory.path: score_dirs(one.directory) for one in done}

    def read(place: int) -> list[Entry]:
        shard = done[place]
        scores = _scores(scorers[shard.directory.path], shard) if made[place] else {}
        return list(_of_shard(shard, made[place], lost[place], scores, side))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = list(pool.map(read, [place for place in range(len(done)) if made[place] or lost[place]]))
    entries: dict[str, Entry] = {}
    for entry in (entry for part in parts for entry in part):  # of a later pass instead of the earlier one's
        entries[entry.key] = entry
    made_later = _made_later(done) if any(one.failed for one in done) else set()
    kept = [one for one in entries.values() if one.values["status"] != FAILED or one.key not in made_later]
    return sorted(kept, key=lambda one: (one.values["sample_index"], one.key))


def _made_later(done: list[Done]) -> set[str]:
    """Return the keys of samples that later passes have made."""
    return {
        row["key"]
        for one in done
        if one.folder
        for row in _sidecar(one.directory.sidecar(one.shard))
        if row["status"] != FAILED
    }


def _of_shard(
    done: Done, made: list[int], lost: list[int], scores: dict[str, dict[str, Any]], side: int
) -> Iterator[Entry]:
    """Yield the chosen samples of a shard: of those made, and of those given up."""
    rows = _sidecar(done.directory.sidecar(done.shard))
    good = [row for row in rows if row["status"] != FAILED]
    bad = [row for row in rows if row["status"] == FAILED]
    for row in (bad[place] for place in lost if place < len(bad)):
        yield Entry(row["key"], {**row, "seconds": None})  # it took some, which nobody wrote down
    if not made:
        return
    found: dict[str, _Sample] = {}
    trouble = f"{done.tar} has other samples than its sidecar tells of"
    try:
        with done.directory.open_tar(done.shard) as file:
            for sample in _tar_samples(file, {*made}):
                found[sample.key] = sample
    except (OSError, BadInput, tarfile.TarError) as error:
        trouble = f"{done.tar} cannot be read ({first_line(error)})"
    for place in made:
        if place >= len(good):
            continue  # the sidecar is gone, or not this tar's
        row = good[place]
        entry = Entry(row["key"], {**scores.get(row["key"], {}), **row}, tar=done.tar)
        entry.trouble = "" if entry.key in found else trouble
        if entry.key in found:
            try:
                _fill(entry, found[entry.key], side)
            except Exception as error:  # decoders raise whatever they like over broken files
                entry.trouble = f"it cannot be shown ({first_line(error)})"
        yield entry


def _sidecar(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(path, "rb") as file:  # pyarrow would take a path for more than a path
            rows: list[dict[str, Any]] = pq.ParquetFile(file).read(use_threads=False).to_pylist()
            return rows
    except (OSError, pa.ArrowException):
        return []


def _scores(scorers: list[ScoreDir], done: Done) -> dict[str, dict[str, Any]]:
    """Return what was measured of a shard's samples, by key; nothing that was measured of other bytes."""
    found: dict[str, dict[str, Any]] = {}
    for scorer in scorers:
        if scorer.is_done(done.shard) and scorer.scored(done.shard) == tar_hash(done.directory, done.shard):
            for row in _sidecar(scorer.sidecar(done.shard)):
                own = {name: value for name, value in row.items() if name not in KEYS}
                found.setdefault(row["key"], {}).update(own)
    return found


@dataclass
class _Sample:
    """A sample's members in a tar."""

    key: str
    extension: str = ""
    start: int = 0
    media: bytes = b""
    info: bytes = b""


def _tar_samples(file: BinaryIO, places: set[int]) -> Iterator[_Sample]:
    """Yield the samples at these places of a tar; the others' bytes are not read.

    Raises:
        OSError: it ends early, or cannot be read.
        tarfile.TarError: it is no tar.
    """
    place, last, sample = -1, max(places), None
    while any(header := _exactly(file, BLOCK)):
        name, size = parse_header(header)
        key, _, extension = name.partition(".")
        if sample is None or key != sample.key:
            if sample and place in places:
                yield sample
            place, sample = place + 1, _Sample(key)
        if place > last:
            return
        begin = file.tell()
        if place in places and extension == "json":
            sample.info = _exactly(file, size)
        elif place in places and extension != "txt":
            sample.extension, sample.start, sample.media = extension, begin, _exactly(file, size)
        file.seek(begin + size + -size % BLOCK)
    if sample and place in places:
        yield sample


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise OSError("it ends early")
    return data


def _fill(entry: Entry, sample: _Sample, side: int) -> None:
    """Add what the tar has of a sample."""
    info = json.loads(sample.info)
    entry.info = sample.info.decode()
    entry.extension, entry.start, entry.size = sample.extension, sample.start, len(sample.media)
    entry.evaluated = tuple(info["algo"].get("evaluated", ()))
    entry.values |= {
        "bytes": entry.size,
        **{f"tokens.{one['encoder']}": one["tokens"] for one in info["encoders"]},
        **{f"metadata.{name}": value for name, value in json.loads(info.pop("metadata")).items()},
    }
    for name, value in _leaves(info):
        entry.values.setdefault(name, value)
    if sample.extension in IMAGE_FORMATS:
        entry.thumbnail = image_thumbnail(sample.media, side)
    elif sample.extension == _VIDEO:
        entry.thumbnail, entry.frames = clip_thumbnail(sample.media, info["num_frames"], side)


def _leaves(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a json, those within others as ``algo.name``; lists are left to the json itself."""
    for name, one in value.items():
        if isinstance(one, dict):
            yield from _leaves(one, f"{prefix}{name}.")
        elif not isinstance(one, list):
            yield f"{prefix}{name}", one
