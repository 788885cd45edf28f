"""Kills exports at random instants, by the clock; in the end there must be the bytes of one that was not killed."""

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.benchmarks.export.runs import make_run


@dataclass(frozen=True)
class KillSizes:
    """How much is exported, and how many commands are killed."""

    kills: int = 60
    samples: int = 600
    shards: int = 30
    picture_bytes: int = 20_000


# Format and options; runs whose keys collide, so that every tar is written anew.
FORMS = {
    "webdataset": ["shard_mb=0.5", "split=0.9,0.05,0.05", "energon=false"],
    "parquet": ["format=parquet", "shard_mb=1"],
    "imagefolder": ["format=imagefolder", "split=0.5,0.5"],
}


def measure(folder: Path, sizes: KillSizes) -> dict[str, Any]:
    """Kill exports of each format until there were enough kills, a third of them of each."""
    runs = [
        make_run(folder, name, sizes.samples, sizes.shards, sizes.picture_bytes).directory.path for name in ("a", "b")
    ]
    dice = random.Random(0)
    rows = []
    for name, options in FORMS.items():
        start = time.perf_counter()
        _command(runs, folder / "whole", options).wait()
        whole, seconds = _digest(folder / "whole"), time.perf_counter() - start
        kills = begun = exports = same = 0
        while kills < -(-sizes.kills // len(FORMS)):
            dest = folder / f"{name}{exports}"
            while not dest.exists() and kills < -(-sizes.kills // len(FORMS)):
                process = _command(runs, dest, options)
                try:
                    process.wait(dice.uniform(0, seconds))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                    begun += (folder / f"{dest.name}.partial/export.json").exists() or dest.exists()
            _command(runs, dest, options).wait()
            exports += 1
            same += _digest(dest) == whole and not (folder / f"{dest.name}.partial").exists()
            shutil.rmtree(dest)
        rows.append({"name": name, "kills": kills, "begun": begun, "exports": exports, "same": same})
        shutil.rmtree(folder / "whole")
    return {"samples": 2 * sizes.samples, "forms": rows}


def _command(runs: list[Path], dest: Path, options: list[str]) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "jobs.export", *map(str, runs), str(dest), *options]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def _digest(folder: Path) -> str:
    """Return a hash of all paths and bytes of a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
