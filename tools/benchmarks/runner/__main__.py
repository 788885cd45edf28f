"""Measure how fast the runner is: ``python -m tools.benchmarks.runner [plan] [writer] [overlap]``.

plan     Time and memory of planning a million prompts, of finding what is unfinished, and of starting the commands.
writer   Bytes a second of the runner's writing, beside plain writes and ``webdataset.ShardWriter``.
overlap  The share of time in which the generator waits for encoding or writing.

Results are kept in ``runner.json``; sections of an earlier call on the same machine stay in it.
``runner.md`` shows all.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.store.atomic import write_bytes, write_json
from tools.benchmarks.common.command import new_parser, read_results, refuse_unknown
from tools.benchmarks.common.machine import describe
from tools.benchmarks.common.timing import watched
from tools.benchmarks.runner.overlap import OverlapSizes
from tools.benchmarks.runner.overlap import measure as measure_overlap
from tools.benchmarks.runner.plan import PlanSizes
from tools.benchmarks.runner.plan import measure as measure_plan
from tools.benchmarks.runner.report import COMMAND, render
from tools.benchmarks.runner.writer import WriterSizes
from tools.benchmarks.runner.writer import measure as measure_writer

# name -> (measurement, its sizes, sizes of --quick); in this order, because the first ones want a small process
SECTIONS: dict[str, tuple[Callable[[Path, Any], dict[str, Any]], Any, Any]] = {
    "plan": (measure_plan, PlanSizes(), PlanSizes(prompts=400, shards=20, repeats=1)),
    "writer": (measure_writer, WriterSizes(), WriterSizes((("jpg", 2000), ("png", 30_000)), 300_000, 2, 1)),
    "overlap": (measure_overlap, OverlapSizes(), OverlapSizes(("png", "jpg", "webp"), 64, 2, 0.01, 2, 4, 0)),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure the sections asked for and write file and page."""
    parser = _parser()
    options = parser.parse_args(arguments)
    refuse_unknown(parser, "section", options.sections, SECTIONS)
    target = options.out / "runner.json"
    page = target.with_suffix(".md")
    if options.render:
        write_bytes(page, render(read_results(parser, target)).encode())
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bench-runner-", dir=options.scratch) as folder:
            _measure(Path(folder), options, target)
    print(page)
    return 0


def _measure(folder: Path, options: argparse.Namespace, target: Path) -> None:
    command = " ".join([COMMAND, *options.sections, *(["--quick"] if options.quick else [])])
    report = _continued(target, describe(folder), options.quick)
    for name, (measure, full, quick) in SECTIONS.items():
        if options.sections and name not in options.sections:
            continue
        print(f"measuring: {name}", file=sys.stderr)
        scratch = folder / name
        scratch.mkdir()
        section: dict[str, Any] = {"command": command, "note": options.note}
        with watched(section):
            section |= measure(scratch, quick if options.quick else full)
        report["sections"][name] = section
        write_json(target, report)
        write_bytes(target.with_suffix(".md"), render(report).encode())


def _continued(target: Path, machine: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Return the earlier report, as far as it is from this machine and of the same sizes, else an empty one."""
    try:
        earlier = json.loads(target.read_text())
        kept = {name: one for name, one in earlier["sections"].items() if ("--quick" in one["command"]) == quick}
    except (OSError, ValueError, KeyError):
        return {"machine": machine, "sections": {}}
    return {"machine": machine, "sections": kept if earlier["machine"] == machine else {}}


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(COMMAND, __doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; all when none is named")
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure; default: a temporary one")
    parser.add_argument("--note", default="", help="a sentence on the circumstances, for the report")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it works")
    return parser


if __name__ == "__main__":
    sys.exit(main())
