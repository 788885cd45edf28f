"""One dataset after another, each under many faults, until the time is over."""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.slurm import Cluster
from tools.soak.check import check
from tools.soak.faults import FAULTS
from tools.soak.stage import Stage, is_mounted

SPACE = "64m"  # of the runs' file system: room for a round, soon filled
HANGS = 420.0  # seconds without any sign of progress, long after the last fault
PAUSE = (1.0, 7.0)  # seconds between faults, at random
FAULTS_OF_A_ROUND = 25  # then it may end undisturbed
COMMANDS_OF_A_ROUND = 80  # started one after another; more than that is no progress


def soak(cluster: Cluster, out: Path, prompts: Path, reference: Path, *, minutes: float, seed: int) -> None:
    """Begin rounds until so many minutes have passed; each adds a line to ``rounds.jsonl``.

    Args:
        cluster: up.
        out: holds results and logs; rounds that are there already are gone on from.
        prompts: the prompt file.
        reference: an undisturbed run of the same options.
        minutes: after which no round is begun.
        seed: of the faults, with the number of the round.
    """
    results = out / "rounds.jsonl"
    deadline = time.monotonic() + 60 * minutes
    number = len(results.read_text().splitlines()) if results.exists() else 0
    while time.monotonic() < deadline:
        dice = random.Random(f"{seed} {number}")
        with small_disk(out / "disk") as folder:
            stage = Stage(cluster, folder, prompts, out / f"round-{number:03d}")
            try:
                row = {"round": number, "seed": seed, "commit": _commit(), **_round(stage, dice, reference)}
            finally:
                stage.end()
            if row["hung"] or row["wrong"]:
                shutil.copytree(folder, stage.logs / "left", dirs_exist_ok=True)
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"round {number}: {len(row['faults'])} faults, {row['seconds']} s, hung: {row['hung']}, {row['wrong']}")
        number += 1


def _round(stage: Stage, dice: random.Random, reference: Path) -> dict[str, Any]:
    begun = time.time()
    faults: list[dict[str, Any]] = []
    released = 0
    seen, moved = stage.progress(), time.monotonic()
    stage.start()
    while not (hung := time.monotonic() - moved > HANGS or len(stage.commands) > COMMANDS_OF_A_ROUND):
        if not stage.waiting():
            if stage.succeeded():
                break
            stage.start()
        time.sleep(dice.uniform(*PAUSE))
        if len(faults) < FAULTS_OF_A_ROUND:
            kind = dice.choice(list(FAULTS))
            at = round(time.time() - begun, 1)
            if (what := FAULTS[kind](stage, dice)) is not None:
                faults.append({"kind": kind, "what": what, "at": at})
                moved = time.monotonic()
        released += stage.release()
        if (now := stage.progress()) != seen:
            seen, moved = now, time.monotonic()
    wrong = {} if hung else {name: found for name, found in asdict(check(stage.run.path, reference)).items() if found}
    return {
        "begun": round(begun),
        "seconds": round(time.time() - begun),
        "commands": len(stage.commands),
        "released": released,
        "faults": faults,
        "hung": hung,
        "wrong": wrong,
    }


def _commit() -> str:
    """Return which state of the project this is."""
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Give an empty file system in memory that is soon full; it needs the right to mount."""
    unmount(folder)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        unmount(folder)


def unmount(folder: Path) -> None:
    """Take the file system away, also while an ended task still has a file of it open."""
    if is_mounted(folder):
        subprocess.run(["umount", "--lazy", folder], check=True)
