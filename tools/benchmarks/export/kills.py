"""Kills exports at random instants, by the clock; in the end there must be the bytes of one that was not killed."""

import hashlib
import os
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
from tools.benchmarks.export.s3 import BUCKET, S3

TO_S3 = "webdataset, copied to S3"
LINKED = "webdataset, linked"
# Format and options; of two runs whose keys collide, so that every tar is written anew, but of one where it is linked.
FORMS = {
    LINKED: ["shard_mb=0", "energon=false"],
    "webdataset": ["shard_mb=0.5", "split=0.9,0.05,0.05", "energon=false"],
    "parquet": ["format=parquet", "shard_mb=1"],
    "imagefolder": ["format=imagefolder", "split=0.5,0.5"],
    TO_S3: ["shard_mb=0.5", "split=0.9,0.05,0.05", "energon=false"],
}


@dataclass(frozen=True)
class KillSizes:
    """How much is exported, in which forms, and how many commands are killed."""

    kills: int = 60
    samples: int = 600
    shards: int = 30
    picture_bytes: int = 20_000
    forms: tuple[str, ...] = tuple(FORMS)


def measure(folder: Path, sizes: KillSizes) -> dict[str, Any]:
    """Kill exports of each form until there were enough kills, as many of each."""
    runs = [
        make_run(folder, name, sizes.samples, sizes.shards, sizes.picture_bytes).directory.path for name in ("a", "b")
    ]
    dice = random.Random(0)
    with S3() as server:
        most = -(-sizes.kills // len(sizes.forms))
        rows = [_kill(folder, runs, name, most, dice, server) for name in sizes.forms]
    return {"samples": 2 * sizes.samples, "forms": rows}


def _kill(folder: Path, runs: list[Path], name: str, most: int, dice: random.Random, server: S3) -> dict[str, Any]:
    """Kill exports of one form ``most`` times."""
    runs = runs[:1] if name == LINKED else runs

    def command(dest: Path) -> "subprocess.Popen[bytes]":
        there = [f"dest=s3://{BUCKET}/{dest.name}"] if name == TO_S3 else []
        words = [sys.executable, "-m", "jobs.export", *map(str, runs), str(dest), *FORMS[name], *there]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, **server.environment})

    start = time.perf_counter()
    command(folder / "whole").wait()
    whole, seconds = _digest(files(folder / "whole")), time.perf_counter() - start
    kills = begun = exports = same = 0
    while kills < most:
        dest = folder / f"form{len(name)}-{exports}"
        code: int | None = None
        while code != 0 and kills < most:
            process = command(dest)
            try:
                code = process.wait(dice.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                begun += (folder / f"{dest.name}.partial/export.json").exists() or dest.exists()
        command(dest).wait()
        exports += 1
        copies = [files(dest), *([server.files(dest.name)] if name == TO_S3 else [])]
        left = [path.name for path in folder.glob(f"{dest.name}.*")]
        same += all(_digest(copy) == whole for copy in copies) and not left
        shutil.rmtree(dest)
    shutil.rmtree(folder / "whole")
    return {"name": name, "kills": kills, "begun": begun, "exports": exports, "same": same}


def files(folder: Path) -> dict[str, bytes]:
    """Return path -> contents of every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _digest(contents: dict[str, bytes]) -> str:
    """Return a hash of all paths and bytes."""
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(f"{name}\0{hashlib.sha256(contents[name]).hexdigest()}\n".encode())
    return digest.hexdigest()
