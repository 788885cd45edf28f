"""Which samples go into which file: pure, so tried on many layouts."""

import random

import numpy as np
import pytest

from jobs.export.plan import FOLDER, Piece, Source, piece_path, plan_pieces, prompt_hashes, splits_of


def source(sizes: list[int], splits: list[int] | None = None) -> Source:
    """A shard of samples of these sizes."""
    ends = np.cumsum(np.array(sizes, np.int64))
    return Source(ends - np.array(sizes, np.int64), ends, np.array(splits or [0] * len(sizes), np.int8), len(sizes))


def contents(pieces: list[Piece]) -> list[tuple[int, list[tuple[int, int]]]]:
    """Split and (source, sample) pairs of each."""
    return [(one.split, [(e.source, e.first + i) for e in one.extents for i in range(e.samples)]) for one in pieces]


def test_a_prompt_stays_in_its_split_however_a_run_grows() -> None:
    shares = (0.8, 0.1, 0.1)
    few = [f"prompt {number}" for number in range(500)]
    more = ["another", *few, "and more", *few]
    first = dict(zip(few, splits_of(prompt_hashes(few), shares).tolist(), strict=True))
    second = splits_of(prompt_hashes(more), shares).tolist()
    assert all(first.get(prompt, split) == split for prompt, split in zip(more, second, strict=True))
    counts = np.bincount(list(first.values()), minlength=3)
    assert (abs(counts - 500 * np.array(shares)) < 30).all()


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (0.0, 1.0, 0.0), (1.0, 0.0), (1 / 3, 1 / 3, 1 / 3)])
def test_no_sample_falls_out_of_the_splits_or_into_an_empty_one(shares) -> None:
    edges = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    splits = splits_of(edges, shares)
    assert all(shares[split] > 0 for split in splits)


@pytest.mark.parametrize("target", [None, 1, 40, 100, 10**6])
@pytest.mark.parametrize("most", [None, 1, 7])
@pytest.mark.parametrize("seed", range(4))
def test_every_sample_is_in_one_file_in_order_and_no_file_is_too_large(target, most, seed) -> None:
    dice = random.Random(seed)
    sources = [
        source([dice.randint(1, 60) for _ in range(count)], [dice.choice((0, 0, 0, 1, 2)) for _ in range(count)])
        for count in (dice.randint(0, 12) for _ in range(9))
    ]
    pieces, places = plan_pieces(sources, target, most)
    for split in range(3):
        wanted = [(n, i) for n, one in enumerate(sources) for i in range(len(one.splits)) if one.splits[i] == split]
        assert [pair for s, pairs in contents(pieces) if s == split for pair in pairs] == wanted
        assert [piece.number for piece in pieces if piece.split == split] == list(
            range(sum(piece.split == split for piece in pieces))
        )
    for piece in pieces:
        assert piece.samples == sum(extent.samples for extent in piece.extents) > 0
        assert target is None or piece.size <= target or piece.samples == 1
        assert most is None or piece.samples <= most
        for extent in piece.extents:
            taken = slice(extent.first, extent.first + extent.samples)
            assert (places[extent.source][taken] == piece.number).all()
            assert extent.start == sources[extent.source].starts[taken][0]
            assert extent.end == sources[extent.source].ends[taken][-1]
        if piece.whole is not None:
            assert len(piece.extents) == 1 and piece.samples == len(sources[piece.whole].splits)


def test_shards_of_about_the_target_stay_as_they_are() -> None:
    pieces, _ = plan_pieces([source([30, 30]), source([10]), source([10]), source([50, 40]), source([5])], 100)
    assert [piece.whole for piece in pieces] == [0, None, 3, None]
    assert [piece.size for piece in pieces] == [60, 20, 90, 5]


def test_shards_that_belong_to_one_split_stay_where_no_size_is_asked_for() -> None:
    pieces, _ = plan_pieces([source([1, 1]), source([1, 1], [0, 1]), source([1, 1])], None)
    assert [(piece.split, piece.whole) for piece in pieces] == [(0, 0), (0, None), (0, 2), (1, None)]


def test_samples_that_are_left_out_are_in_no_file() -> None:
    whole = source([10, 20, 30, 40])
    kept = np.array([True, False, True, True])
    some = Source(whole.starts[kept], whole.ends[kept], whole.splits[kept], 4)
    for target in (None, 100):
        ((piece,), _) = plan_pieces([some], target)
        assert piece.whole is None and [(one.start, one.end) for one in piece.extents] == [(0, 10), (30, 100)]


def test_folders_stay_below_ten_thousand_files() -> None:
    assert piece_path(0, 3, FOLDER, ".tar") == "train/train-00003.tar"
    many = [piece_path(1, number, 3 * FOLDER, ".tar") for number in range(3 * FOLDER)]
    assert many[0] == "validation/000/validation-00000.tar"
    assert len(set(many)) == len(many) and sorted(many) == many
    folders = [path.rpartition("/")[0] for path in many]
    assert max(map(folders.count, set(folders))) < 10_000
