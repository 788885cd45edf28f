"""Syntax of other tools, which is plain text to the pipelines of diffusers."""

import re

from jobs.dataset.prompts import PromptTable

# Written so that prose with brackets, ratios (16:9) and times of day is left alone.
KINDS = {
    "weights": r"[^\s:()\[\]\d]\s?:\s?(?:\d?\.\d+|[0-2])\s?[)\]]|\(\([^()]+\)\)",
    "weights behind": r"\([^()]+\)[01]\.\d|\w::-?[\d.]+(?=\s|$)",
    "parameters": r"(?:(?<=\s)|^)--(?:ar|aspect|v|niji|stylize|s|chaos|q|quality|iw|seed|no|style|tile)(?=\s|$)",
    "networks": r"<(?:lora|lyco|locon|hypernet):[^<>]+>",
    "embeddings": r"\bembedding:\w",
    "alternatives": r"\{[^{}|]+\|[^{}]+\}|\[[^\[\]|]+\|[^\[\]]+\]",
    "BREAK": r"(?:^|(?<=[\s,]))(?<![A-Z]{2}\s)BREAK(?=[\s,]+(?![A-Z]{2})|$)",
}
HINTS = (":", "((", ")0.", ")1.", "--", "|", "BREAK")  # without one of these there is none, which is quick to see
_ANY = re.compile("|".join(f"(?:{pattern})" for pattern in KINDS.values()))
BEFORE, AFTER = 24, 12  # characters around what is shown


def foreign_syntax(table: PromptTable) -> str | None:
    """Return a warning about prompts that are written for another tool; None where there are none."""
    likely = ((place, text) for place, text in enumerate(table.texts) if any(hint in text for hint in HINTS))
    found = [(place, match) for place, text in likely if (match := _ANY.search(text))]
    if not found:
        return None
    place, match = found[0]
    text = table.texts[place]
    begin = max(text.rfind(sign, 0, match.start() + 1) for sign in "([{<,")
    shown = text[max(begin, match.start() - BEFORE, 0) : match.end()].strip(" ,")
    return (
        f"{len(found):,} of {len(table):,} {'prompt' if len(table) == 1 else 'prompts'} "
        f"{'has' if len(found) == 1 else 'have'} syntax of other tools, which the model reads as plain text: "
        f"first '{shown}' in {table.where(place)}"
    )
