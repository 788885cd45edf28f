"""Which samples go into which file of which split. Pure: from sizes and prompts alone, the same everywhere.

Samples keep their order. A file is filled until the next sample would exceed the target; a shard that is of about the
target's size and belongs to one split is left as it is, so that it can be linked rather than copied.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from jobs.options.export import SPLITS

FOLDER = 5_000  # files in a folder; hubs and file systems ask for fewer than 10,000
_LEAST = 0.5  # of the target: a shard of at least this share is left as it is


@dataclass(frozen=True)
class Extent:
    """Bytes ``start`` to ``end`` of a source's tar: ``samples`` samples of it from the ``first``-th on."""

    source: int
    start: int
    end: int
    first: int
    samples: int


@dataclass
class Piece:
    """One file of the export (of folders of pictures: one folder).

    Attributes:
        split: which split it belongs to.
        number: which file of that split it is.
        extents: what it consists of, in order.
        whole: the source that it is all of, and nothing else; None where there is none.
        samples: how many samples are in it.
        size: bytes of these in the tars that they come from.
    """

    split: int
    number: int
    extents: list[Extent] = field(default_factory=list)
    whole: int | None = None
    samples: int = 0
    size: int = 0

    def add(self, extent: Extent) -> None:
        """Append samples."""
        self.extents.append(extent)
        self.samples += extent.samples
        self.size += extent.end - extent.start


@dataclass(frozen=True)
class Source:
    """What the plan needs to know of a shard; arrays of one value a sample that is kept, in order.

    Attributes:
        starts: first byte in the tar (int64).
        ends: the byte behind it (int64).
        splits: which split it belongs to (int8).
        in_tar: how many samples the tar has, those that are left out among them.
    """

    starts: "np.ndarray"
    ends: "np.ndarray"
    splits: "np.ndarray"
    in_tar: int


def prompt_hashes(prompts: Iterable[str]) -> "np.ndarray":
    """Return a number of each prompt (uint64) that follows from its text alone."""
    digests = (hashlib.sha256(prompt.encode()).digest() for prompt in prompts)
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests], np.uint64)


def splits_of(hashes: "np.ndarray", shares: Sequence[float]) -> "np.ndarray":
    """Return the split (int8) of each prompt: equal prompts stay together, whatever run they are in, and runs may grow.

    Args:
        hashes: of ``prompt_hashes``.
        shares: of the splits; they make 1.
    """
    last = max(split for split, share in enumerate(shares) if share)
    found = np.searchsorted(np.cumsum(shares), hashes / 2.0**64, side="right")
    return np.minimum(found, last).astype(np.int8)


def plan_pieces(
    sources: Iterable[Source], target: int | None, most: int | None = None
) -> tuple[list[Piece], list["np.ndarray"]]:
    """Lay out the files.

    Args:
        sources: the shards, in order.
        target: bytes of a file; None: each shard makes a file of each split that it has samples of.
        most: samples of a file at most; None: any number.

    Returns:
        The files, split by split, and for each source an array (int64) that says of each of its samples which file of
        its split it is in.
    """
    made: list[list[Piece]] = [[] for _ in SPLITS]
    filling: dict[int, Piece] = {}
    places = []
    for index, source in enumerate(sources):
        place = np.zeros(len(source.splits), np.int64)
        alone = _stays(source, target, most)
        if target is None:
            filling.clear()
        elif alone:
            filling.pop(int(source.splits[0]), None)
        for first, after in _stretches(source):
            split = int(source.splits[first])
            while first < after:
                piece = filling.get(split)
                room = _room(source, first, after, piece, None if alone else target, most)
                if piece is None or (room == 0 and piece.extents):
                    piece = filling[split] = Piece(split, len(made[split]))
                    made[split].append(piece)
                    continue
                count = max(room, 1)  # one sample may be larger than the target
                start, end = int(source.starts[first]), int(source.ends[first + count - 1])
                piece.add(Extent(index, start, end, first, count))
                place[first : first + count] = piece.number
                first += count
        if alone:
            filling.pop(int(source.splits[0])).whole = index
        places.append(place)
    return [piece for pieces in made for piece in pieces], places


def piece_path(split: int, number: int, total: int, suffix: str) -> str:
    """Return where a file lies in the export: ``train/train-00003.tar``, in sub-folders where there are very many."""
    name = f"{SPLITS[split]}-{number:05d}{suffix}"
    if total <= FOLDER:
        return f"{SPLITS[split]}/{name}"
    return f"{SPLITS[split]}/{number // FOLDER:03d}/{name}"


def _stays(source: Source, target: int | None, most: int | None) -> bool:
    """Whether a shard becomes a file as it is."""
    count = len(source.splits)
    if not count or count < source.in_tar or (source.splits != source.splits[0]).any():
        return False
    size = int(source.ends[-1] - source.starts[0])
    if most is not None and count > most:
        return False
    return target is None or _LEAST * target <= size <= target


def _stretches(source: Source) -> list[tuple[int, int]]:
    """Return the stretches of neighbours in the tar that share a split, as (first, after)."""
    count = len(source.splits)
    if not count:
        return []
    ends = np.diff(source.splits).astype(bool) | (source.starts[1:] != source.ends[:-1])
    return list(pairwise([0, *(np.flatnonzero(ends) + 1).tolist(), count]))


def _room(source: Source, first: int, after: int, piece: Piece | None, target: int | None, most: int | None) -> int:
    """Return how many of the samples from ``first`` on still fit into a file."""
    room = after - first
    if target is not None:
        limit = int(source.starts[first]) + target - (piece.size if piece else 0)
        room = int(np.searchsorted(source.ends[first:after], limit, side="right"))
    return room if most is None else min(room, max(most - (piece.samples if piece else 0), 0))
