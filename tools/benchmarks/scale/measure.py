"""Submits a run of many shards to a one-machine Slurm, waits for it, looks at it and cancels it; nothing ever runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tools.benchmarks.common.timing import watched
from tools.slurm import Cluster

# The jobs are pending for a reason that passes, so that they are waited for.
LATER = "+hydra.launcher.additional_parameters.begin=now+2hours"
# Runs a command and tells its CPU seconds and peak memory, those of its child processes too.
_METER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""


def measure(folder: Path, shards: int, seconds: float) -> dict[str, Any]:
    """Return what was measured.

    Args:
        folder: an empty one on the disk that counts.
        shards: of one sample each, and one task each.
        seconds: how long to watch the waiting process.
    """
    prompts = folder / "prompts.txt"
    prompts.write_text("a red circle on a white background\n" * shards)
    command = (
        *(
            "-m",
            "jobs.generate",
            "-m",
            "hydra/launcher=submitit_slurm",
            f"prompt_file={prompts}",
            "shard_size=1",
            "shards_per_task=1",
        ),
        *(f"output_base_path={folder}", "exp_name=run", "device=cpu", LATER),
    )
    run = folder / "run"
    cluster = Cluster(folder / "slurm")
    cluster.up()
    try:
        environment = {**os.environ, **cluster.env()}
        found: dict[str, Any] = {"shards": shards}
        with watched(found):
            found["submit"] = timed((*command, "wait=false"), environment)
            listing = cluster.run("squeue", "--me", "--array", "--noheader", "--format=%i").stdout.split()
            found["queued"], found["arrays"] = len(listing), len({job.partition("_")[0] for job in listing})
            files = list((run / "logs").glob("launch-*/*"))
            found["launch_bytes"], found["launch_files"] = sum(file.stat().st_size for file in files), len(files)
            found["again"] = timed((*command, "wait=false"), environment)
            found["status"] = timed(("-m", "jobs.status", str(run)), environment)
            found["wait"] = waited(command, environment, seconds)
            found["cancel"] = timed(("-m", "jobs.cancel", str(run)), environment)
            finish(run, shards)
            found["status_done"] = timed(("-m", "jobs.status", str(run)), environment)
        return found
    finally:
        cluster.down()


def timed(words: Sequence[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a Python command; return its wall seconds, CPU seconds and peak MB, its child processes included."""
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", _METER, sys.executable, *words],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    wall = time.perf_counter() - start
    cpu, peak = map(float, ended.stderr.splitlines()[-1].split())
    if ended.returncode > 1:
        raise RuntimeError(f"{' '.join(words)} ended with code {ended.returncode}: {ended.stderr}")
    return {"wall": wall, "cpu": cpu, "peak_mb": peak}


def waited(words: Sequence[str], environment: dict[str, str], seconds: float) -> dict[str, float]:
    """Start a command that waits; return the share of a core that it and its children take once it does."""
    with subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            while "pending" not in (line := process.stderr.readline()):
                if not line:
                    raise RuntimeError("the command did not come to wait")
            own = psutil.Process(process.pid)
            before, start = own.cpu_times(), time.perf_counter()
            time.sleep(seconds)
            after, wall = own.cpu_times(), time.perf_counter() - start
            memory = own.memory_info().rss / 2**20
        finally:
            process.kill()
    itself = after.user + after.system - before.user - before.system
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": wall, "share": itself / wall, "share_of_children": children / wall, "mb": memory}


def finish(run: Path, shards: int) -> None:
    """Write done records as publishing does, and empty tars: ``jobs.status`` reads the records alone."""
    now = time.time()
    for shard in range(shards):
        (run / "data" / f"{shard:05d}.tar").touch()
        record = {"samples": 1, "failed": [], "flagged": 0, "reasons": {}, "finished": now - shard}
        (run / "done" / f"{shard:05d}.json").write_text(json.dumps(record))
