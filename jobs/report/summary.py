"""How a command ends: the preview, a table of what is there and what is not, and the exit code that tells the truth."""

import json

from jobs.base.disk import disk_trouble
from jobs.base.errors import BadInput, first_line
from jobs.report.page.build import NAME, make_report
from jobs.report.preview import make_preview
from jobs.report.status import Status, read_status, render
from jobs.run.run import Run
from jobs.store.publish import clear_leftovers

AGAIN = "run the same command again to finish what is left"
_NO_REPORT = "report: python -m jobs.report {} makes it, which reads pictures back from the store"
_TOLD = 20  # problems
IDLE = "nothing came of this command: mend what is told above, then run it again"


def tell(problems: list[str]) -> None:
    """Print what went wrong on the way."""
    for problem in problems[:_TOLD]:
        print(f"problem: {problem}")
    if len(problems) > _TOLD:
        print(f"problem: and {len(problems) - _TOLD} more")


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
    tell(problems)
    for run, shards in runs:
        try:
            whole &= _conclude(run, shards, AGAIN if forward else IDLE)
        except (OSError, BadInput) as error:
            whole = False
            print(f"problem: {disk_trouble(error, run.directory.path) or _gone(run) or first_line(error)}")
    return 0 if whole else 1


def _conclude(run: Run, shards: list[int], advice: str) -> bool:
    """Print the summary of a run, with advice where something is left; return whether all is there."""
    directory = run.directory
    clear_leftovers(directory)
    status = read_status(directory)
    asked_left = run.unfinished()
    print(render(directory.name, status))
    if asked_left:
        print(f"  {advice}")
    if run.options.report and (shards or not (directory.path / NAME).exists()):
        print(_report(run, status) if not directory.url else _NO_REPORT.format(directory.path))
    if status.done:
        print(f"dataset: {directory.name_of(directory.data)}/*.tar{_preview(run)}")
    given_up = any(
        json.loads(directory.done_record(shard).read_text())["failed"] for shard in shards if shard not in asked_left
    )
    return not asked_left and not given_up


def _preview(run: Run) -> str:
    """Make the preview, and return where it is; a run is whole without it."""
    try:
        return f", first samples: {make_preview(run.directory)}"
    except (OSError, BadInput) as error:
        return f" (no preview.png: {first_line(error)})"


def _report(run: Run, status: Status) -> str:
    """Make the report, and return a line on it; whatever becomes of it, the run is what it is."""
    try:
        return f"report: {make_report(run.directory, status=status, brief=True)}"
    except Exception as error:
        return f"report: none ({disk_trouble(error, run.directory.path) or first_line(error)})"


def _gone(run: Run) -> str:
    return "" if run.directory.exists() else f"{run.directory.path} was removed, and all that was made in it"
