"""Prompts that the text encoders do not read to the end: two that differ only there give one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.base.errors import BadInput
from jobs.model.tokens import TokenCounter
from jobs.run.run import Run


@dataclass(frozen=True)
class Cut:
    """Texts that an encoder, or several of one limit, does not read to the end.

    Attributes:
        encoders: their names.
        limit: tokens that they read.
        places: numbers of the texts, in order.
    """

    encoders: tuple[str, ...]
    limit: int
    places: tuple[int, ...]


def long_prompts(run: Run) -> str | None:
    """Return a warning about prompts that are longer than text encoders read; None where there are none.

    Nothing is said of a checkpoint that is not on the disk.

    Raises:
        BadInput: with long_prompts=error, a prompt is cut by every encoder.
    """
    if run.checkpoint.folder is None:
        return None
    counter = TokenCounter.read(run.options.model, run.checkpoint.folder)
    table = run.layout.table
    parts = [_about(run, counter, "prompts", table.texts, range(len(table)))]
    if run.options.model.negative_prompts:
        own = table.settings.get("negative_prompt", [None] * len(table))
        first: dict[str, int] = {}
        for place, text in enumerate(own):
            first.setdefault(run.options.negative_prompt if text is None else text, place)
        parts.append(_about(run, counter, "negative prompts", list(first), list(first.values())))
    said = [part for part in parts if part]
    return f"{'; '.join(said)}; what follows is not read" if said else None


def _about(run: Run, counter: TokenCounter, what: str, texts: Sequence[str], rows: Sequence[int]) -> str | None:
    """Say which of these texts are cut; ``rows`` has the prompt that each stands at."""
    found = counter.cut(texts)
    everywhere = set.intersection(*found.values()) if len(found) == len(counter.encoders) and found else set()
    where = run.layout.table.where
    total = f"{len(texts):,} {what if len(texts) > 1 else what.removesuffix('s')}"
    if everywhere and run.options.long_prompts == "error":
        raise BadInput(
            f"{len(everywhere):,} of {total} {'is' if len(everywhere) == 1 else 'are'} longer than any text encoder "
            f"reads ({_limits(counter)}), first: {where(rows[min(everywhere)])}: shorten them, or use long_prompts=warn"
        )
    clauses = [
        f"{len(cut.places):,} of {total} {'is' if len(cut.places) == 1 else 'are'} longer than the {cut.limit} tokens "
        f"of {' and '.join(cut.encoders)}, first: {where(rows[cut.places[0]])}"
        for cut in _grouped(counter, found)
    ]
    return "; ".join(clauses) or None


def _grouped(counter: TokenCounter, found: dict[str, set[int]]) -> list[Cut]:
    """Put encoders together that cut the same texts at the same place."""
    groups: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    for one in counter.encoders:
        if one.limit is not None and found[one.name]:
            groups.setdefault((one.limit, tuple(sorted(found[one.name]))), []).append(one.name)
    return [Cut(tuple(names), limit, places) for (limit, places), names in groups.items()]


def _limits(counter: TokenCounter) -> str:
    return ", ".join(f"{one.limit} tokens of {one.name}" for one in counter.encoders)
