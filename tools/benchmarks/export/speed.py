"""Seconds, processor time and memory of exports, beside ``cp -r`` of the same tars. Whole processes, in turns."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.benchmarks.export.runs import make_run

_EXPORT = """import sys
from jobs.export.__main__ import main
from tools.benchmarks.common.memory import peak_mb
main(sys.argv[1:])
print(peak_mb())"""
WAYS = {"linked": ["shard_mb=0"], "resharded": ["shard_mb=100"], "resharded, three splits": ["split=0.98,0.01,0.01"]}


@dataclass(frozen=True)
class SpeedSizes:
    """How much is exported, and how often."""

    samples: int = 10_000
    shards: int = 100
    pictures: tuple[int, ...] = (6_000, 100_000)  # mean bytes
    repeats: int = 3


def measure(folder: Path, sizes: SpeedSizes) -> dict[str, Any]:
    """Export runs of each size of pictures in each way."""
    rows = []
    for picture_bytes in sizes.pictures:
        run = make_run(folder, f"run{picture_bytes}", sizes.samples, sizes.shards, picture_bytes)
        data = run.directory.data
        taken: dict[str, list[float]] = {name: [] for name in ("copy", "durable copy", *WAYS)}
        processor: dict[str, list[float]] = {name: [] for name in taken}
        peaks: dict[str, float] = {}
        for _ in range(sizes.repeats):
            for name in taken:
                dest = folder / "dest"
                start, busy = time.perf_counter(), _processor_seconds()
                if name in WAYS:
                    peaks[name] = _export(run.directory.path, dest, WAYS[name])
                else:
                    subprocess.run(["cp", "-r", str(data), str(dest)], check=True)
                    if name == "durable copy":
                        _sync(dest)
                taken[name].append(time.perf_counter() - start)
                processor[name].append(_processor_seconds() - busy)
                shutil.rmtree(dest)
        seconds = {name: statistics.median(one) for name, one in taken.items()}
        work = {name: statistics.median(one) for name, one in processor.items()}
        rows.append(
            {
                "picture_bytes": picture_bytes,
                "bytes": sum(path.stat().st_size for path in data.iterdir()),
                "copy_seconds": seconds["copy"],
                "copy_processor_seconds": work["copy"],
                "durable_copy_seconds": seconds["durable copy"],
                "exports": [
                    {
                        "name": name,
                        "options": WAYS[name],
                        "seconds": seconds[name],
                        "processor_seconds": work[name],
                        "ratio": _ratio(taken["copy"], taken[name]),
                        "durable_ratio": _ratio(taken["durable copy"], taken[name]),
                        "peak_mb": peaks[name],
                    }
                    for name in WAYS
                ],
            }
        )
        shutil.rmtree(run.directory.path)
    return {"samples": sizes.samples, "shards": sizes.shards, "repeats": sizes.repeats, "pictures": rows}


def _export(run: Path, dest: Path, options: list[str]) -> float:
    """Export in a process of its own and return its peak memory in MB."""
    words = [sys.executable, "-c", _EXPORT, str(run), str(dest), *options, "energon=false"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _processor_seconds() -> float:
    """Return what all processes that this one has started and waited for took, in user and system mode."""
    times = os.times()
    return times.children_user + times.children_system


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _ratio(reference: list[float], own: list[float]) -> float:
    """Return how much of the reference's speed there is: the median of the turns' ratios."""
    return statistics.median(one / other for one, other in zip(reference, own, strict=True))
