"""Measure the submitting side of a large launch: ``python -m tools.benchmarks.scale [--shards N]``.

A real Slurm on this machine gets one task for each of 10,000 shards; the jobs may begin only hours later, so that what
is measured is the runner's own. Results go to ``scale.json``, and ``scale.md`` shows them.
"""

import json
import sys
import tempfile
from pathlib import Path

from jobs.store.atomic import write_bytes, write_json
from tools.benchmarks.common.command import new_parser, read_results
from tools.benchmarks.common.machine import describe
from tools.benchmarks.scale.measure import measure
from tools.benchmarks.scale.report import COMMAND, render


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write file and page."""
    parser = new_parser(COMMAND, __doc__)
    parser.add_argument("--shards", type=int, default=10_000, help="one task each; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=120, help="to watch the waiting command; default: %(default)s")
    options = parser.parse_args(arguments)
    target = options.out / "scale.json"
    if not options.render:
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="scale-", ignore_cleanup_errors=True) as folder:
            found = measure(Path(folder), options.shards, options.seconds)
            write_json(target, {"machine": describe(Path(folder), ("submitit",)), **found})
            print(json.dumps(found), file=sys.stderr)
    page = target.with_suffix(".md")
    write_bytes(page, render(read_results(parser, target)).encode())
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
