"""Measure the runner and write what was found: ``python -m tools.bench_runner [plan] [writer] [overlap]``."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.atomic import write_bytes, write_json
from tools.bench_runner.machine import describe, watched
from tools.bench_runner.overlap import OverlapSizes
from tools.bench_runner.overlap import measure as measure_overlap
from tools.bench_runner.plan import PlanSizes
from tools.bench_runner.plan import measure as measure_plan
from tools.bench_runner.report import render
from tools.bench_runner.writer import WriterSizes
from tools.bench_runner.writer import measure as measure_writer

# name -> (measurement, its sizes, sizes of --quick); in this order, because the first ones want a small process
SECTIONS: dict[str, tuple[Callable[[Path, Any], dict[str, Any]], Any, Any]] = {
    "plan": (measure_plan, PlanSizes(), PlanSizes(prompts=400, shards=20, repeats=1)),
    "writer": (measure_writer, WriterSizes(), WriterSizes((("jpg", 2000), ("png", 30_000)), 300_000, 2, 1)),
    "overlap": (measure_overlap, OverlapSizes(), OverlapSizes(("png", "jpg", "webp"), 64, 2, 0.01, 2, 4, 0)),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections asked for; those of an earlier report from the same machine are kept beside them."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_runner", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; all when none is named")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure; default: a temporary one")
    parser.add_argument("--note", default="", help="a sentence on the circumstances, for the report")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it works")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - SECTIONS.keys():
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose among {', '.join(SECTIONS)}")
    names = [name for name in SECTIONS if name in options.sections or not options.sections]
    command = " ".join(["python -m tools.bench_runner", *options.sections, *(["--quick"] if options.quick else [])])

    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "runner.json"
    with tempfile.TemporaryDirectory(prefix="bench-runner-", dir=options.scratch) as folder:
        report = _continued(target, describe(Path(folder)), options.quick)
        for name in names:
            print(f"measuring: {name}", file=sys.stderr)
            measure, full, quick = SECTIONS[name]
            scratch = Path(folder) / name
            scratch.mkdir()
            section: dict[str, Any] = {"command": command, "note": options.note}
            with watched(section):
                section |= measure(scratch, quick if options.quick else full)
            report["sections"][name] = section
            write_json(target, report)
            write_bytes(target.with_suffix(".md"), render(report).encode())
    print(target.with_suffix(".md"))
    return 0


def _continued(target: Path, machine: dict[str, Any], quick: bool) -> dict[str, Any]:
    """The earlier report, as far as it is from this machine and of the same sizes, else an empty one."""
    try:
        earlier = json.loads(target.read_text())
        kept = {name: one for name, one in earlier["sections"].items() if ("--quick" in one["command"]) == quick}
    except (OSError, ValueError, KeyError):
        return {"machine": machine, "sections": {}}
    return {"machine": machine, "sections": kept if earlier["machine"] == machine else {}}


if __name__ == "__main__":
    sys.exit(main())
