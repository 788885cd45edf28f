"""How a command ends: the preview, a table of what is there and what is not, and the exit code that tells the truth."""

import json

from jobs.report.preview import make_preview
from jobs.report.status import read_status, render
from jobs.run.run import Run
from jobs.store.publish import clear_leftovers

AGAIN = "run the same command again to finish what is left"
IDLE = "nothing came of this command: mend what is told above, then run it again"


def conclude(runs: list[tuple[Run, list[int]]], problems: list[str], forward: bool = True) -> int:
    """Print the summary of each run and return the command's exit code.

    Args:
        runs: each run, and its shards that this command set out to make.
        problems: what went wrong on the way, to be told; the exit code follows from the files.
        forward: whether anything came of this command; another one like it would be as idle if not.

    Returns:
        0 when all those shards are done and none of their samples failed, else 1.
    """
    whole = True
    for problem in problems[:20]:
        print(f"problem: {problem}")
    if len(problems) > 20:
        print(f"problem: and {len(problems) - 20} more")
    for run, shards in runs:
        directory = run.directory
        clear_leftovers(directory)
        status = read_status(directory)
        asked_left = run.unfinished()
        print(render(str(directory.path), status))
        whole &= not asked_left and not any(
            json.loads(directory.done_record(shard).read_text())["failed"] for shard in shards
        )
        if asked_left:
            print(f"  {AGAIN if forward else IDLE}")
        if status.done:
            print(f"dataset: {directory.data}/*.tar, first samples: {make_preview(directory)}")
    return 0 if whole else 1
