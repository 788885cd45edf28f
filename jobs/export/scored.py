"""The part of the card that says what was measured of the samples, and which were left out. Pure: from stats.json."""

import json
from typing import Any

from jobs.export.markdown import grid, plain


def choice(stats: dict[str, Any]) -> str:
    """Return a sentence and a table of what was left out; empty where all is there."""
    left_out = stats.get("left_out")
    if not left_out:
        return ""
    rows = ((reason, count) for reason, count in left_out.items())
    return f"Of what was generated, {sum(left_out.values()):,} samples were left out:\n\n" + grid(
        ("left out because", "samples"), rows
    )


def scored(stats: dict[str, Any]) -> list[str]:
    """Return paragraphs of Markdown about the scores; none where nothing was measured."""
    runs = stats["export"].get("scores")
    if not runs:
        return []
    columns = ("mean", "least", "p5", "median", "p95", "most")
    spread = [
        [name, *("" if one[column] is None else f"{one[column]:.4g}" for column in columns), one["samples"]]
        for name, one in stats.get("scores", {}).items()
    ]
    titles = ("column", "mean", "least", "5th percentile", "median", "95th percentile", "most", "samples")
    said = {json.dumps({**how, "sha256": None}, sort_keys=True): how for own in runs.values() for how in own.values()}
    return [
        "## Scores",
        "Columns of `metadata.parquet` that were measured on the finished samples:",
        grid(titles, spread) if spread else "",
        "\n".join(f"- {_scorer(how)}" for _, how in sorted(said.items())),
    ]


def _scorer(how: dict[str, Any]) -> str:
    said = ((name, value) for name, value in how.items() if name not in ("scorer", "sha256", "batch_size"))
    settings = [f"{name} {value}" for name, value in said if value is not None]
    return f"{plain(str(how['scorer']))}: {plain(', '.join(settings))}"
