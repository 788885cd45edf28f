"""Which samples are near duplicates of others, by their perceptual hashes. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

_HASH = 64  # bits


def near_duplicates(
    hashes: Iterable[tuple[str, str]], bits: int, kept: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Return key -> the key that it is a near duplicate of, of the samples that are such.

    In the order of their keys, each sample is compared with those that are kept so far: it is a near duplicate of the
    first of them whose hash differs in at most ``bits`` bits, and kept where there is none. Hashes that near agree in
    at least one of ``bits`` + 1 parts, so that only samples with an equal part are compared:
    of 20,000 random ones, a few hundredths of a percent of all pairs.

    Args:
        hashes: key and hash (16 hexadecimal digits) of each sample.
        bits: see above.
        kept: keys and hashes of others, which are kept and come before all.
    """
    parts = _parts(bits + 1)
    buckets: list[dict[int, list[tuple[int, int, str]]]] = [defaultdict(list) for _ in parts]
    same: dict[int, str] = {}  # hash -> who is kept with it, or who such samples are duplicates of
    found: dict[str, str] = {}
    samples = [
        *((key, text, False) for key, text in sorted(kept)),
        *((key, text, True) for key, text in sorted(hashes)),
    ]
    for place, (key, text, is_own) in enumerate(samples):
        value = int(text, 16)
        original = same.get(value) or (_nearest(value, bits, parts, buckets) if is_own else None)
        if original is None:
            for (shift, mask), bucket in zip(parts, buckets, strict=True):
                bucket[value >> shift & mask].append((place, value, key))
        elif is_own:
            found[key] = original
        same.setdefault(value, original or key)
    return found


def _nearest(
    value: int, bits: int, parts: list[tuple[int, int]], buckets: list[dict[int, list[tuple[int, int, str]]]]
) -> str | None:
    """Return the key of the first kept sample that is near."""
    first: tuple[int, str] | None = None
    for (shift, mask), bucket in zip(parts, buckets, strict=True):
        for place, other, key in bucket.get(value >> shift & mask, ()):  # in the order in which they were kept
            if first and place >= first[0]:
                break
            if (value ^ other).bit_count() <= bits:
                first = (place, key)
                break
    return first[1] if first else None


def _parts(count: int) -> list[tuple[int, int]]:
    """Cut a hash into parts, as shift and mask."""
    ends = [_HASH * part // count for part in range(count + 1)]
    return [(start, (1 << end - start) - 1) for start, end in pairwise(ends)]
