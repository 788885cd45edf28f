"""How a command ends: the preview, a table of what is there and what is not, and the exit code that tells the truth."""

import json
import logging

from jobs.prepare import Prepared
from jobs.preview import make_preview
from jobs.publish import clear_leftovers
from jobs.status import read_status, render

log = logging.getLogger(__name__)


def conclude(runs: list[tuple[Prepared, list[int]]], problems: list[str]) -> int:
    """Print the summary of each run and return the command's exit code.

    Args:
        runs: each run, and its shards that this command set out to make.
        problems: what went wrong on the way, to be told; the exit code follows from the files.

    Returns:
        0 when all those shards are done and none of their samples failed, else 1.
    """
    whole = True
    for problem in problems[:20]:
        print(f"problem: {problem}")
    if len(problems) > 20:
        print(f"problem: and {len(problems) - 20} more")
    for prepared, shards in runs:
        run = prepared.run
        clear_leftovers(run)
        status = read_status(run)
        asked_left = prepared.unfinished()
        print(render(str(run.path), status))
        whole &= not asked_left and not any(json.loads(run.done_record(s).read_text())["failed"] for s in shards)
        if asked_left:
            print("  the same command again does what is left")
        if status.done:
            print(f"dataset: {run.data}/*.tar, first samples to look at: {make_preview(run)}")
    return 0 if whole else 1
