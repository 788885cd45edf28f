"""Where the seconds of attempts went, from their journals: what a shard's done record keeps when these are removed."""

import time
from collections.abc import Mapping
from typing import Any

from jobs.store.journal import Journal

KINDS = ("generating", "loading", "calibrating", "waiting", "lost")


def spent_of(journal: Journal, own: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Return what an attempt took, in seconds of each of its devices; nothing of one that only joined others.

    The journal of a shard that was reopened tells of all attempts that the shard had taken by then.

    Generating is time in pipeline calls; waiting that of the generating thread for encoding and writing. Of an attempt
    that was killed, what did not become samples is lost; loading is counted with the first attempt of a process.

    Args:
        journal: the attempt's.
        own: generating and waiting, of an attempt that has not ended.
    """
    header = journal.header
    if journal.reopened:
        return list(header["attempts"])
    if header.get("joins"):
        return []
    made = [row for row in journal.samples if row.get("attempt") == header["attempt"]]
    kept = sum(row["seconds"] for row in made)
    told = own or (journal.ended or {}).get("spent")
    spent = dict.fromkeys(KINDS, 0.0)
    if told:
        spent |= {name: float(told[name]) for name in ("generating", "waiting")}
    else:
        until = journal.ended["at"] if journal.ended else _last_beat(journal)
        spent |= {"generating": kept, "lost": max(0.0, until - header["started"] - kept)}
    told_of = {
        "attempt": header["attempt"],
        "host": header["host"],
        "device": header["device"],
        "gpu": header.get("gpu", False),
        "ranks": header.get("ranks", 1),
        **spent,
        "loading": header.get("loading", 0.0),
        "calibrating": header.get("calibrating", 0.0),
    }
    return [told_of]


def _last_beat(journal: Journal) -> float:
    try:
        return journal.path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
