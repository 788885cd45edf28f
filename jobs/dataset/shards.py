"""Shard numbers as people and files write them."""

from jobs.base.errors import BadInput


def shard_name(shard: int) -> str:
    """Return five digits, more for shards beyond 99,999: the stem of every file of the shard."""
    return f"{shard:05d}"


def parse_shards(text: str, num_shards: int) -> list[int]:
    """Read a list like ``0-3,7`` (both ends included).

    Raises:
        BadInput: not of that form, or beyond the run's last shard.
    """
    shards: list[int] = []
    for part in str(text).replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"shards must look like [0-3,7], not '{text}'")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise BadInput(f"shards={text} ends before it begins: write '{high}-{low}'")
        if high >= num_shards:
            raise BadInput(f"shards={text} must lie within this run's shards, which are 0-{num_shards - 1}")
        shards.extend(range(low, high + 1))
    return sorted(set(shards))


def format_shards(shards: list[int]) -> str:
    """Return the inverse of ``parse_shards`` for a sorted list: ``[0, 1, 2, 7]`` -> ``0-2,7``."""
    parts: list[list[int]] = []
    for shard in shards:
        if parts and parts[-1][1] == shard - 1:
            parts[-1][1] = shard
        else:
            parts.append([shard, shard])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
