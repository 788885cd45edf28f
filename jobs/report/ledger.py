"""``jobs.status RUN --ledger``: where the seconds of GPUs went, by node, and what a thousand samples cost."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jobs.store.journal import journals
from jobs.store.rundir import RunDir
from jobs.store.spent import KINDS, spent_of


@dataclass
class Ledger:
    """What a run has taken so far.

    Attributes:
        samples: that came of it.
        nodes: host -> kind -> seconds, added up over devices.
        gpus: whether all of these devices are GPUs.
    """

    samples: int = 0
    nodes: dict[str, dict[str, float]] = field(default_factory=dict)
    gpus: bool = True

    @property
    def total(self) -> dict[str, float]:
        """Kind -> seconds of all nodes."""
        return {kind: sum(node[kind] for node in self.nodes.values()) for kind in KINDS}

    @property
    def seconds_a_thousand(self) -> float | None:
        """Device-seconds that a thousand samples take, lost ones and all."""
        return 1000 * sum(self.total.values()) / self.samples if self.samples else None


def read_ledger(run: RunDir) -> Ledger:
    """Add up what done records and journals tell.

    Raises:
        BadInput: ``run`` is not a run's directory.
    """
    run.read()
    ledger = Ledger()
    nodes: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(KINDS, 0.0))
    for spent in _attempts(run, ledger):
        for kind in KINDS:
            nodes[spent["host"]][kind] += spent[kind] * spent["ranks"]
        ledger.gpus &= bool(spent["gpu"])
    ledger.nodes = dict(sorted(nodes.items()))
    return ledger


def _attempts(run: RunDir, ledger: Ledger) -> Iterator[dict[str, Any]]:
    done = run.done_shards()
    for shard in sorted(done):
        record = json.loads(run.done_record(shard).read_text())
        ledger.samples += record["samples"]
        yield from record["attempts"]
    seen: set[int] = set()
    found: dict[str, dict[str, Any]] = {}  # by name: several journals may tell of an attempt at a reopened shard
    for journal in journals(run):
        if journal.header["shard"] not in done and (spent := spent_of(journal)):
            made = {row["sample"] for row in journal.samples}
            ledger.samples += len(made - seen)
            seen |= made
            found |= {one["attempt"]: one for one in spent}
    yield from found.values()


def render_ledger(ledger: Ledger) -> str:
    """Return the lines that a person reads."""
    unit = "GPU-seconds" if ledger.gpus else "device-seconds"
    if not ledger.nodes:
        return "  ledger   nothing was made yet"
    lines = [f"  ledger   {unit}: {_shares(ledger.total)}"]
    lines += [f"  node     {host}: {_shares(node)}" for host, node in ledger.nodes.items()]
    cost = ledger.seconds_a_thousand
    if cost:
        lines.append(f"  cost     {cost / 3600:.3g} {unit.replace('seconds', 'hours')} a thousand samples")
    return "\n".join(lines)


def _shares(seconds: dict[str, float]) -> str:
    total = sum(seconds.values()) or 1.0
    names = {"lost": "lost in killed attempts"}
    shown = [kind for kind in KINDS if seconds[kind] or kind != "calibrating"]
    return ", ".join(f"{names.get(kind, kind)} {seconds[kind]:,.0f} ({seconds[kind] / total:.0%})" for kind in shown)
