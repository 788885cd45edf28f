"""Command line: ``python -m tools.soak --minutes 50 --out DIR``, then ``python -m tools.soak --render --out DIR``."""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from tools.benchmarks.common.machine import describe
from tools.slurm import INSTALL, Cluster, missing_programs
from tools.soak.page import render
from tools.soak.rounds import soak, unmount
from tools.soak.stage import make_reference, write_prompts

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"


def main(arguments: list[str] | None = None) -> int:
    """Soak, or make the page of an earlier soak; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description="Datasets under random faults.")
    parser.add_argument(
        "--out", type=Path, required=True, help="results and logs; a soak that is there is gone on with"
    )
    parser.add_argument("--minutes", type=float, default=50, help="after which no dataset is begun (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default: 1)")
    parser.add_argument("--render", action="store_true", help="write docs/benchmarks/soak.md from the results")
    options = parser.parse_args(arguments)
    if options.render:
        render(options.out, DOCS / "soak.md", DOCS / "soak.json")
        return 0
    if missing := missing_programs():
        print(f"Slurm's programs are missing ({', '.join(missing)}): run `{INSTALL}`.", file=sys.stderr)
        return 2
    if os.getuid():
        print("The soak fills a file system of its own, which only root may mount: run it as root.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _leave)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / "machine.json").write_text(json.dumps(describe(out)))
    prompts = write_prompts(out / "prompts.txt")
    reference = make_reference(out / "reference", prompts)
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/dev/shm", ignore_cleanup_errors=True) as directory:
        cluster = Cluster(directory)
        try:
            cluster.up()
            soak(cluster, out, prompts, reference, minutes=options.minutes, seed=options.seed)
        finally:
            cluster.down()
            unmount(out / "disk")
    return 0


def _leave(number: int, frame: object) -> None:
    """End through the clean-up, since a whole Slurm would stay behind."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
