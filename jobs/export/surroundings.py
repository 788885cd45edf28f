"""What an export has beside its data: indexes, counts, the card, checksums. Small, and written anew each time."""

import json
from pathlib import Path
from typing import Any

from jobs.export.card import CardFacts, card
from jobs.export.indexes import SUMS, checksums, prepare_energon, tar_indexes, write_checked
from jobs.export.licence import licences_of, terms_of
from jobs.export.lines import write_lines
from jobs.export.source import SourceRun
from jobs.export.stats import Stats
from jobs.export.view import View
from jobs.export.work import STATS, Work
from jobs.model.licences import Licence
from jobs.options.export import ExportOptions

METADATA, CARD = "metadata.parquet", "README.md"


def write_surroundings(
    work: Work,
    view: View,
    runs: list[SourceRun],
    options: ExportOptions,
    described: dict[str, Any],
    records: dict[str, dict[str, Any]],
    stats: Stats,
) -> None:
    """Write all that is not data.

    Args:
        described: what the export is.
        records: path -> what ``jobs.export.formats`` says of it.
        stats: of the table.
    """
    splits: dict[str, dict[str, int]] = {}
    for name, record in records.items():
        totals = splits.setdefault(name.partition("/")[0], {"files": 0, "bytes": 0})
        totals["files"] += len(record.get("files", [None]))
        totals["bytes"] += record["bytes"]
    known = {name: record["sha256"] for name, record in records.items() if "sha256" in record}
    for name, record in records.items():
        known |= {f"{name}/{file}": one["sha256"] for file, one in record.get("files", {}).items()}
    _sweep(work.out, {METADATA, *known})
    lines = write_lines(work, view, [*splits]) if options.format == "imagefolder" else {}
    known |= lines
    small: dict[str, bytes] = {}
    if options.format == "webdataset":
        small |= tar_indexes(records, str(options.name))
    counts = stats.as_json(described, splits)
    small[STATS] = (json.dumps(counts, indent=2, ensure_ascii=False) + "\n").encode()
    facts = CardFacts(
        str(options.name),
        options.format,
        view.extension,
        Licence(**described["license"]),
        licences_of(runs),
        terms_of(runs),
        stats.prompts,
        {split: sorted(name for name in records if name.partition("/")[0] == split) for split in splits},
        bool(options.energon),
        lines=next((path.rpartition("/")[2] for path in lines), ""),
    )
    small[CARD] = card(facts, counts).encode()
    for name, data in small.items():
        write_checked(work.out / name, data)
    if options.energon:
        prepare_energon(work.out, [*splits], view.extension, json.dumps(described, sort_keys=True))
    write_checked(work.out / SUMS, checksums(work.out, known).encode())


def _sweep(folder: Path, known: set[str]) -> None:
    """Remove what an interrupted command left among the files: parts of small ones, and what another program wrote."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in known:
            path.unlink()
