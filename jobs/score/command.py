"""What ``python -m jobs.score`` does: check, score on this machine or a cluster, then what needs all scores at once."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.base.disk import disk_trouble
from jobs.base.errors import BadInput
from jobs.execute.choose import make_launcher
from jobs.execute.container import check_container
from jobs.execute.fanout import work_through
from jobs.execute.pool import run_pool
from jobs.execute.resources import check_leaving, check_resources
from jobs.options.compose import compose_options
from jobs.options.schema import WORK_PATH, Options
from jobs.options.score import ScoreOptions
from jobs.report.status import read_status, render
from jobs.report.summary import AGAIN, tell
from jobs.run.devices import check_cpu, worker_devices
from jobs.run.read_options import read_options
from jobs.score.across import DUPLICATES, NearDuplicates, open_other
from jobs.score.scorers import find_scorer
from jobs.score.scoring import Scoring
from jobs.store.mirror_scores import working
from jobs.store.publish import clear_leftovers
from jobs.store.rundir import RunDir


def score(place: str | Path, options: ScoreOptions, elsewhere: list[str], *, launch: bool) -> int:
    """Score a run, or go on with it, or find that it is scored.

    Args:
        place: the run's directory, or its address in a store.
        options: what to measure.
        elsewhere: options of ``jobs.generate`` and of launchers.
        launch: whether a launcher is to do it (``-m``).

    Returns:
        The command's exit code.

    Raises:
        BadInput: whatever a user can mend; nothing was written.
        SystemExit: code 1: not everything could be launched, or the command does not wait.
    """
    where = _where(elsewhere, launch=launch)
    if where.work_path and "://" not in f"{place} {options.against}":
        raise BadInput(f"work_path={where.work_path} is for the address of a run in a store: leave it out")
    work_path = Path(where.work_path or WORK_PATH).expanduser()
    run = working(str(place), work_path)
    _check_run(run, run.read())
    other = open_other(options.against, run, work_path)
    duplicates = NearDuplicates.of(run, other, options.duplicate_bits) if DUPLICATES in options.names else None
    scorings = _scorings(run, other, options, where)
    for one in scorings:
        one.unfinished()  # refuses shards= out of range
        one.directory.check_same(one.identity)
        one.scorer.check()
    asked = [one.unfinished() for one in scorings]
    if run.remote and any(asked):
        run.remote.try_writing()
    problems = _launched(scorings, elsewhere) if launch else _here(scorings)
    whole = _conclude([*zip(scorings, asked, strict=True)], problems)
    if duplicates:
        whole &= duplicates.find(print)
    return 0 if whole and _is_finished(run) else 1


def _check_run(run: RunDir, record: dict[str, object]) -> None:
    identity = record["identity"]
    assert isinstance(identity, dict)
    if "retry" in identity:
        raise BadInput(f"{run.name} is a pass over failed samples of {run.above()}: name that run")
    if "scorer" in identity:
        raise BadInput(f"{run.name} holds scores of {run.above(2)}: name that run")
    if not run.done_shards():
        raise BadInput(f"{run.name} has no finished shard yet: there is nothing to score")


def _where(elsewhere: list[str], *, launch: bool) -> Options:
    """Return the options of ``jobs.generate`` that say where work is done."""
    named = next((word for word in elsewhere if word.startswith("hydra")), None)
    if named and not launch:
        raise BadInput(f"{named} has no effect without -m: add -m, or leave it out")
    return read_options(compose_options(elsewhere))


def _scorings(run: RunDir, other: RunDir | None, options: ScoreOptions, where: Options) -> list[Scoring]:
    """Return the work: each scorer over the run, and over each pass over its failed samples."""
    names = [name for name in options.names if name != DUPLICATES]
    if DUPLICATES in options.names and "basic" not in names:
        names.insert(0, "basic")  # which has the hashes
    found = []
    for name in names:
        for of in (run, *run.retries()):
            scorer = find_scorer(name, options, other)
            found.append(Scoring.of_run(where, of, of.read(), scorer, options.batch_size))
    return found


def _here(scorings: Sequence[Scoring]) -> list[str]:
    """Score on this machine, one scorer after another."""
    check_container(scorings, {}, set())
    check_leaving({}, scorings)
    devices = [worker_devices(one.options) for one in scorings]
    for one in scorings:
        one.create()
    problems = []
    for one, own in zip(scorings, devices, strict=True):
        if left := one.unfinished():
            problems += run_pool(one, left, own)
    return problems


def _launched(scorings: Sequence[Scoring], elsewhere: list[str]) -> list[str]:
    """Score by a launcher's tasks; see ``jobs.execute.sweep``."""
    launcher = make_launcher(compose_options(elsewhere, with_hydra=True))
    launcher.require()
    check_resources(launcher, scorings)
    check_container(scorings, launcher.settings, launcher.given)
    check_leaving(launcher.settings, scorings)
    for one in scorings:
        if launcher.on_this_machine:
            worker_devices(one.options)
        elif not one.scorer.gpus:
            check_cpu(one.options)
    launcher.check(scorings)
    for one in scorings:
        one.create()
    return work_through(launcher, scorings).problems


def _conclude(scorings: list[tuple[Scoring, list[int]]], problems: list[str]) -> bool:
    """Print the summary; return whether all is scored and no sample of this command was given up.

    Args:
        scorings: each with the shards that were unfinished when the command began.
        problems: to be told; the answer follows from the files.
    """
    whole = True
    tell(problems)
    for one, asked in scorings:
        try:
            clear_leftovers(one.directory)
            status = read_status(one.directory)
        except (OSError, BadInput) as error:
            print(f"problem: {disk_trouble(error, one.directory.path) or error}")
            return False
        left = one.unfinished()
        print(render(one.directory.name, status))
        if left:
            print(f"  {AGAIN}")
        whole &= not left and not any(one.directory.given_up(shard) for shard in {*asked} - {*left})
    sys.stdout.flush()
    return whole


def _is_finished(run: RunDir) -> bool:
    """Whether the run itself is; says so where it is not."""
    left = run.read()["shards"] - len(run.done_shards())
    if left:
        print(f"{run.name} is not finished: the same command later scores the {left} shards that are still to come")
    return not left
