"""What is done, running, failed and left of a run: ``python -m jobs.status RUN``. Read from its files alone."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from jobs.base.errors import BadInput, refuse
from jobs.report.status import read_status, render
from jobs.store.rundir import RunDir


def main() -> None:
    """Print the status. Exit code 0 when every shard is done, 1 when not, 2 when there is no run."""
    parser = argparse.ArgumentParser(prog="python -m jobs.status", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's directory, such as outputs/demo-shapes")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    arguments = parser.parse_args()
    try:
        status = read_status(RunDir(arguments.run))
    except BadInput as error:
        refuse(str(error))
    print(json.dumps(asdict(status), indent=2) if arguments.json else render(str(arguments.run), status))
    sys.exit(0 if status.done == status.shards else 1)


if __name__ == "__main__":
    main()
