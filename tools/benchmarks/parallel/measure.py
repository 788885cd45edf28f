"""Measure steps on real ranks: spawn them, wait for them, and join what they measured."""

import json
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.benchmarks.parallel.cases import Conditions
from tools.benchmarks.parallel.rank import rank_main


class RanksFailed(Exception):
    """Ranks that did not come to their end, in one sentence; all of them were ended."""


def measure(world: int, conditions: Conditions) -> dict[str, Any]:
    """Run the cases of so many ranks.

    Returns:
        ``micro``: the machine's microbenchmarks; ``runs``: for each case, medians of the slowest rank's steps and of
        the slowest rank's reference before each.

    Raises:
        RanksFailed: A rank failed, or was too slow.
    """
    # Not a fork server: ranks have to be children of this process, or `watched` takes them for other programs.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="bench-parallel-") as folder:
        ranks = [context.Process(target=rank_main, args=(rank, world, folder, conditions)) for rank in range(world)]
        for process in ranks:
            process.start()
        try:
            _await(ranks, conditions.seconds)
        finally:
            for process in ranks:
                process.kill()
                process.join()
        return _joined([json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(world)])


def _await(ranks: list[Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(process.exitcode != 0 for process in ranks):
        if failed := [number for number, process in enumerate(ranks) if process.exitcode]:
            raise RanksFailed(f"rank {failed[0]} of {len(ranks)} failed: its own message is above")
        if time.monotonic() > deadline:
            raise RanksFailed(f"{len(ranks)} ranks took more than {seconds:g} s: give a longer --time-limit")
        time.sleep(0.1)


def _joined(ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """Join the results of all ranks: the slowest's time of each step, and the mean share of its collectives."""
    micro = {name: _slowest([rank["micro"][name] for rank in ranks]) for name in ranks[0]["micro"]}
    runs = []
    for same in zip(*(rank["runs"] for rank in ranks), strict=True):
        first = same[0]
        run = {name: first[name] for name in ("model", "degrees", "rows", "history_bytes")}
        run["reference_seconds"] = statistics.median(
            map(max, zip(*(one["reference_seconds"] for one in same), strict=True))
        )
        forecast = [step for step in range(1, len(first["seconds"])) if step not in first["evaluated"]]
        for kind, steps in (("evaluated", first["evaluated"][1:]), ("forecast", forecast)):
            shares = [
                statistics.mean(one["collective_seconds"][step] / one["recorded_seconds"][step] for one in same)
                for step in steps
            ]
            seconds = [max(one["seconds"][step] for one in same) for step in steps]
            run[kind] = {
                "seconds": statistics.median(seconds),
                "all_seconds": seconds,
                "collective_share": statistics.median(shares),
                "messages": first["messages"][steps[0]],
            }
        runs.append(run)
    return {"micro": micro, "runs": runs}


def _slowest(values: list[list[list[float]]]) -> list[list[float]]:
    """Return the slowest of [bytes, seconds] for the same sizes on each rank."""
    return [[pairs[0][0], max(seconds for _, seconds in pairs)] for pairs in zip(*values, strict=True)]
