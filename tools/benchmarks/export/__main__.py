"""Measure exports: ``python -m tools.benchmarks.export [speed] [kills]``.

speed   Seconds and memory of exports of 10,000 samples, beside ``cp -r`` of the same tars.
kills   60 kills at random instants: same bytes in the end.

Results are kept in ``export.json``; sections of an earlier call on the same machine stay in it.
``export.md`` shows all.
"""

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
from tools.benchmarks.export.kills import LINKED, TO_S3, KillSizes
from tools.benchmarks.export.kills import measure as measure_kills
from tools.benchmarks.export.report import COMMAND, render
from tools.benchmarks.export.speed import SpeedSizes
from tools.benchmarks.export.speed import measure as measure_speed

# name -> (measurement, its sizes, sizes of --quick)
SECTIONS: dict[str, tuple[Callable[[Path, Any], dict[str, Any]], Any, Any]] = {
    "speed": (measure_speed, SpeedSizes(), SpeedSizes(20, 2, (500,), 1)),
    "kills": (measure_kills, KillSizes(), KillSizes(2, 6, 2, 500, (LINKED, TO_S3))),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure the sections asked for and write file and page."""
    parser = new_parser(COMMAND, __doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; all when none is named")
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure; default: a temporary one")
    parser.add_argument("--note", default="", help="a sentence on the circumstances, for the report")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it works")
    options = parser.parse_args(arguments)
    refuse_unknown(parser, "section", options.sections, SECTIONS)
    target = options.out / "export.json"
    if options.render:
        write_bytes(target.with_suffix(".md"), render(read_results(parser, target)).encode())
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    command = " ".join([COMMAND, *options.sections, *(["--quick"] if options.quick else [])])
    with tempfile.TemporaryDirectory(prefix="bench-export-", dir=options.scratch) as folder:
        report = _continued(target, describe(Path(folder)), options.quick)
        for name, (measure, full, quick) in SECTIONS.items():
            if options.sections and name not in options.sections:
                continue
            print(f"measuring: {name}", file=sys.stderr)
            section: dict[str, Any] = {"command": command, "note": options.note}
            scratch = Path(folder) / name
            scratch.mkdir()
            with watched(section):
                section |= measure(scratch, quick if options.quick else full)
            report["sections"][name] = section
            write_json(target, report)
            write_bytes(target.with_suffix(".md"), render(report).encode())
    print(target.with_suffix(".md"))
    return 0


def _continued(target: Path, machine: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Return the earlier report, as far as it is from this machine and of the same sizes, else an empty one."""
    try:
        earlier = json.loads(target.read_text())
        kept = {name: one for name, one in earlier["sections"].items() if ("--quick" in one["command"]) == quick}
        return {"machine": machine, "sections": kept if earlier["machine"] == machine else {}}
    except (OSError, ValueError, KeyError):
        return {"machine": machine, "sections": {}}


if __name__ == "__main__":
    sys.exit(main())
