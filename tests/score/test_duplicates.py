"""Near duplicates as a comparison of all with all finds them, and in much less than its time."""

import numpy as np
import pytest

from jobs.score import duplicates
from jobs.score.duplicates import near_duplicates


def hashes(count: int, seed: int, flips: int = 6) -> list[tuple[str, str]]:
    """Keys and hashes, of which most lie around a few centres."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2**64, 12, dtype=np.uint64)
    found = []
    for number in range(count):
        value = int(centres[random.integers(12)])
        for bit in random.integers(0, 64, random.integers(0, flips)):
            value ^= 1 << int(bit)
        found.append((f"{number:08d}_0000", f"{value:016x}"))
    return found


def by_all_pairs(own: list[tuple[str, str]], bits: int, others: list[tuple[str, str]]) -> dict[str, str]:
    kept, found = sorted(others), {}
    for key, text in sorted(own):
        near = [other for other, value in kept if (int(value, 16) ^ int(text, 16)).bit_count() <= bits]
        if near:
            found[key] = near[0]
        else:
            kept.append((key, text))
    return found


@pytest.mark.parametrize("bits", [0, 1, 4, 7, 16])
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_a_comparison_of_all_with_all_finds(bits, seed) -> None:
    own, others = hashes(300, seed), [(f"other:{key}", value) for key, value in hashes(40, seed + 50)]
    for kept in ([], others):
        assert near_duplicates(own, bits, kept) == by_all_pairs(own, bits, kept)


def test_the_order_in_which_they_come_plays_no_part() -> None:
    own = hashes(200, 9)
    assert near_duplicates(own, 4) == near_duplicates(reversed(own), 4)


def test_the_lowest_key_of_a_group_is_kept_and_chains_do_not_grow() -> None:
    own = [("c", f"{0b111:016x}"), ("a", f"{0:016x}"), ("b", f"{0b1:016x}"), ("d", f"{0b1111111:016x}")]
    assert near_duplicates(own, 1) == {"b": "a"}
    assert near_duplicates(own, 4) == {"b": "a", "c": "a"}  # d is near c only, which is not kept


def test_few_of_all_pairs_are_compared(monkeypatch) -> None:
    """Counted, since a clock would count other processes too: 20,000 samples have 200 million pairs."""
    values = np.random.default_rng(3).integers(0, 2**64, 20_000, np.uint64)
    looked_at = 0
    real = duplicates._nearest

    def counted(value, bits, parts, buckets):
        nonlocal looked_at
        pairs = zip(parts, buckets, strict=True)
        looked_at += sum(len(bucket.get(value >> shift & mask, ())) for (shift, mask), bucket in pairs)
        return real(value, bits, parts, buckets)

    monkeypatch.setattr(duplicates, "_nearest", counted)
    near_duplicates([(f"{number:08d}", f"{value:016x}") for number, value in enumerate(values)], 4)
    assert looked_at < 1_000_000
