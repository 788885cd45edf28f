"""Measure samples an hour, end to end: ``python -m tools.benchmarks.throughput [--repeats N] [OPTION=VALUE ...]``.

The runner with and without overlapping batches, and the pipeline of diffusers in a loop that saves what it gives, on
the embedded models. Results go to ``throughput.json``, and ``throughput.md`` shows them.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.store.atomic import write_bytes, write_json
from tools.benchmarks.common.command import new_parser, read_results, refuse_below
from tools.benchmarks.common.machine import describe
from tools.benchmarks.common.timing import watched
from tools.benchmarks.throughput.measure import CASES, measure
from tools.benchmarks.throughput.report import COMMAND, render


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write file and page."""
    parser = new_parser(COMMAND, __doc__)
    parser.add_argument("given", nargs="*", metavar="OPTION=VALUE", help="of all runs, such as algo=nocache")
    parser.add_argument("--repeats", type=int, default=3, help="turns; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it works")
    options = parser.parse_args(arguments)
    refuse_below(parser, options, 1, "repeats")
    target = options.out / "throughput.json"
    if not options.render:
        options.out.mkdir(parents=True, exist_ok=True)
        command = " ".join([COMMAND, *options.given, *(["--quick"] if options.quick else [])])
        results: dict[str, Any] = {"command": command, "repeats": options.repeats}
        few = [replace(case, samples=4, options=(*case.options, "batch_size=2")) for case in CASES]
        with tempfile.TemporaryDirectory(prefix="bench-throughput-") as folder, watched(results):
            results["machine"] = describe(Path(folder), ("torch", "diffusers", "pillow", "imageio-ffmpeg"))
            results["cases"] = measure(
                Path(folder), few if options.quick else CASES, options.repeats, tuple(options.given)
            )
        write_json(target, results)
    page = target.with_suffix(".md")
    write_bytes(page, render(read_results(parser, target)).encode())
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
