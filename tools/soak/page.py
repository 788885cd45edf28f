"""The results of a soak as a page."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tools.benchmarks.common.table import table

WRONG = {
    "lost": "samples lost",
    "twice": "samples there twice",
    "differing": "tars whose bytes differ from the undisturbed run's",
    "given_up": "shards with a sample that was given up",
    "leftovers": "files left in work/ after the last command",
}


def page(rows: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """Return the page's text.

    Args:
        rows: one a round, as ``tools.soak.rounds`` writes them.
        machine: where they ran (``tools.benchmarks.common.machine.describe``).
    """
    faults = Counter(fault["kind"] for row in rows for fault in row["faults"])
    wrong = {name: sum(len(row["wrong"].get(name, ())) for row in rows) for name in WRONG}
    minutes = sum(row["seconds"] for row in rows) / 60
    states = Counter(row["commit"] for row in rows)
    found = [[text, str(wrong[name])] for name, text in WRONG.items()]
    found.append(["rounds that hung", str(sum(row["hung"] for row in rows))])
    listed = [[kind, str(count)] for kind, count in faults.most_common()]
    return f"""# Soak

`python -m tools.soak --minutes 50 --out DIR` makes small datasets on a real Slurm of two pretended
nodes (`python -m tools.slurm`) while faults hit them at random, and compares each with one that was
made undisturbed on one machine. A command that ends before its dataset is complete is given again,
as a user would; jobs that Slurm holds back after a requeue are released at once.

{time.strftime("%Y-%m-%d", time.gmtime(rows[0]["begun"]))}, {machine["cpu"]}, {machine["cores"]} cores:
{len(rows)} datasets, {minutes:.0f} minutes, {faults.total()} faults,
{sum(row["commands"] for row in rows)} commands, {sum(row["released"] for row in rows)} jobs released. Commits
(datasets): {", ".join(f"{commit} ({count})" for commit, count in states.items())}.

## What was found

{table(["invariant", "broken"], found)}

## Faults

{table(["fault", "times"], listed)}
"""


def render(out: Path, page_file: Path, data_file: Path) -> None:
    """Write the page, and the data that it is made of.

    Args:
        out: where the soak wrote its results.
        page_file: where the page goes.
        data_file: where the rounds and the machine go, as JSON.
    """
    rows = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    machine = json.loads((out / "machine.json").read_text())
    data_file.write_text(json.dumps({"machine": machine, "rounds": rows}, indent=1) + "\n")
    page_file.write_text(page(rows, machine))
