"""A run that goes on with more: with more prompts, with more samples of each prompt, or both.

What it has by then keeps its bytes. More prompts follow behind those that are there, as if they had always been there.
More samples of each prompt follow in shards of their own, and the identity says at which point: ``raised``.
"""

from typing import Any

from jobs.base.differences import differences
from jobs.dataset.layout import Layout
from jobs.dataset.numbering import Raise
from jobs.store.journal import journals
from jobs.store.parts import busy
from jobs.store.rundir import RunDir

_GROWS = ("prompts", "samples_per_prompt", "raised")


def raised(directory: RunDir, record: dict[str, Any], samples_per_prompt: int) -> tuple[Raise, ...]:
    """Return what there was each time that ``samples_per_prompt`` was raised, this time among them.

    Args:
        directory: the run's.
        record: what it says of the run; empty where the run begins.
        samples_per_prompt: what it is now.
    """
    then = record.get("identity", {})
    before = then.get("samples_per_prompt", samples_per_prompt)
    known = tuple(Raise(**one) for one in then.get("raised", []))
    if samples_per_prompt == before:
        return known
    if samples_per_prompt < before or is_untouched(directory):  # refused, or begun anew
        return ()
    return *known, Raise(then["prompts"]["count"], before)


def grows(old: dict[str, Any], new: dict[str, Any], layout: Layout) -> bool:
    """Return whether a run is another one with more samples: what the other has comes first, and all else is the same.

    Args:
        old: the other's identity.
        new: the run's identity.
        layout: the run's samples.
    """
    before = old["prompts"]["count"]
    return (
        (before < new["prompts"]["count"] or old["samples_per_prompt"] < new["samples_per_prompt"])
        and layout.table.digest(before) == old["prompts"]["sha256"]
        and _leads_to(old, new)
        and not differences(_without_growth(old), _without_growth(new))
    )


def as_then(record: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """Return a run's identity as it was when it was another one, if it ever was.

    Args:
        record: of the run.
        identity: that other one, of a task that waited in a queue, say.
    """
    now: dict[str, Any] = record["identity"]
    if identity["prompts"] not in [*record.get("earlier", []), now["prompts"]] or not _leads_to(identity, now):
        return now
    return {**now, **{name: identity.get(name) for name in _GROWS}}


def is_untouched(directory: RunDir) -> bool:
    """Return whether no sample was made yet in a run's directory, and nobody is about to.

    Of a run in a store nobody knows: another machine may be at it, with a directory of its own.
    """
    if directory.url:
        return False
    if directory.done_shards() or any(directory.data.glob("*.tar")):
        return False
    if any(busy(folder) for folder in directory.calibrations_begun()):
        return False
    return not any(journal.samples or journal.alive() for journal in journals(directory))


def _leads_to(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Return whether ``samples_per_prompt`` came from what it is in one identity to what it is in the other."""
    before, after = old.get("raised") or [], new.get("raised") or []
    if before == after:
        return bool(old["samples_per_prompt"] == new["samples_per_prompt"])
    if before != after[: len(before)] or len(before) == len(after):
        return False
    then = after[len(before)]
    return bool(then["samples_per_prompt"] == old["samples_per_prompt"] and then["prompts"] >= old["prompts"]["count"])


def _without_growth(identity: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in identity.items() if name not in _GROWS}
