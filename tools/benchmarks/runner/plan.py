"""Planning a million prompts, finding what is unfinished, and the command line's own start."""

import json
import pickle
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.dataset.record import sample_members
from jobs.media.image import ImageFormat
from jobs.options.compose import compose_options
from jobs.report.status import read_status
from jobs.run.open import create, open_run
from jobs.run.run import Run
from jobs.store.rundir import RunDir
from jobs.store.tar import end_of_archive, sample_bytes
from tools.benchmarks.common.memory import peak_mb
from tools.benchmarks.common.timing import median_seconds

WORDS = (
    "a red boat two cats under old wooden heavy clouds at sunset with warm light on still water in the rain wide angle"
)
PROJECT = Path(__file__).resolve().parents[3]
WALKED = 5  # shards whose batches a worker's share stands for


@dataclass(frozen=True)
class PlanSizes:
    """How much is planned, and how often each measurement is repeated."""

    prompts: int = 1_000_000
    shards: int = 10_000
    repeats: int = 3


def measure(scratch: Path, sizes: PlanSizes) -> dict[str, Any]:
    """Measure everything that happens before a model is asked for, in seconds (medians) and MB."""
    result: dict[str, Any] = {"prompts": sizes.prompts, "shards": sizes.shards, "repeats": sizes.repeats}
    cases = [("txt", "nocache"), ("jsonl", "nocache"), ("jsonl", "spectrum")]
    result["files"] = [_planning(scratch, suffix, algo, sizes) for suffix, algo in cases]
    result["unfinished"] = _finding(scratch / "half", sizes)
    result["commands"] = _commands(scratch, sizes)
    return result


def opened_run(folder: Path, *overrides: str) -> Run:
    """Compose the configuration and open the run ``folder``, as the command line does."""
    return open_run(compose_options([f"output_base_path={folder.parent}", f"exp_name={folder.name}", *overrides]))


def write_prompts(path: Path, count: int) -> Path:
    """Write ``count`` different prompts of about 80 characters; in a .jsonl each has an id and a source as well."""
    rng, words = random.Random(0), WORDS.split()
    with open(path, "w") as file:
        for number in range(count):
            prompt = f"{' '.join(rng.choices(words, k=15))} {number}"
            if path.suffix == ".jsonl":
                prompt = json.dumps({"prompt": prompt, "id": f"p{number:07d}", "source": f"set {number % 50}"})
            file.write(f"{prompt}\n")
    return path


def _planning(scratch: Path, suffix: str, algo: str, sizes: PlanSizes) -> dict[str, Any]:
    """Plan in fresh processes, so that each one's peak memory is its own; ``algo=spectrum`` imports torch."""
    path = write_prompts(scratch / f"many.{suffix}", sizes.prompts)
    shard_size = str(sizes.prompts // sizes.shards)
    command = [sys.executable, "-m", "tools.benchmarks.runner.plan", str(path), shard_size, algo]
    runs = [
        json.loads(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout)
        for _ in range(sizes.repeats)
    ]
    size = path.stat().st_size / 1e6
    path.unlink()
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {"format": suffix, "algo": algo, "file_mb": size, **medians}


def plan_here(prompts: Path, shard_size: int, algo: str) -> dict[str, Any]:
    """Plan a run in this process, walk a few shards as a worker does, and pickle the run as for a worker process."""
    start, cpu = time.perf_counter(), time.process_time()
    overrides = (f"prompt_file={prompts}", f"shard_size={shard_size}", f"algo={algo}", "height=8", "width=8")
    run = opened_run(prompts.with_name("planned"), *overrides)
    planned, planned_cpu = time.perf_counter(), time.process_time()
    count = run.layout.num_shards
    shards = range(0, count, -(-count // WALKED))
    samples = sum(len(batch) for shard in shards for batch in run.layout.batches(shard))
    walked = time.perf_counter()
    peak = peak_mb()
    size = len(pickle.dumps(run))
    return {
        "plan_seconds": planned - start,
        "plan_cpu_seconds": planned_cpu - cpu,
        "peak_mb": peak,
        "walked_samples": samples,
        "walk_seconds": walked - planned,
        "hand_over_seconds": time.perf_counter() - walked,
        "hand_over_mb": size / 1e6,
        "hand_over_peak_mb": peak_mb(),
    }


def _finding(folder: Path, sizes: PlanSizes) -> dict[str, Any]:
    """Look for what is unfinished among all shards with every second one done."""
    run = half_done(folder, sizes.shards)
    left, seconds = median_seconds(lambda: run.unfinished(sizes.shards), sizes.repeats)
    assert len(left) == sizes.shards // 2
    status, status_seconds = median_seconds(lambda: read_status(run), sizes.repeats)
    assert status.done == sizes.shards - len(left)
    return {"done": status.done, "unfinished_seconds": seconds, "status_seconds": status_seconds}


def half_done(folder: Path, shards: int) -> RunDir:
    """Make a run of ``shards`` shards, every second one with its done record and its (tiny) tar on disk."""
    run = RunDir(folder)
    run.make_folders()
    run.create({"samples": 100 * shards, "shards": shards, "shard_size": 100, "created": time.time()}, "")
    for shard in range(0, shards, 2):
        finish_shard(run, shard, 100, bytes(10240))
    return run


def finish_shard(run: RunDir, shard: int, samples: int, tar: bytes) -> None:
    """Leave the files that make a shard done."""
    record = {
        "shard": shard,
        "samples": samples,
        "failed": [],
        "reasons": {},
        "flagged": 0,
        "bytes": len(tar),
        "sha256": "0" * 64,
        "seconds": 1.0,
        "attempt": f"18f0c2a4b7d3e5f1-node{shard % 100:03d}-12345",
        "host": f"node{shard % 100:03d}",
        "finished": time.time(),
    }
    run.tar(shard).write_bytes(tar)
    run.done_record(shard).write_text(json.dumps(record, indent=2) + "\n")


def _commands(scratch: Path, sizes: PlanSizes) -> dict[str, float]:
    """Time whole processes, from start to exit: seconds by name."""
    prompts = write_prompts(scratch / "few.txt", 4)
    overrides = (f"prompt_file={prompts}", "shard_size=2")
    run = opened_run(scratch / "finished", *overrides)
    create(run)
    picture = ImageFormat("png", 95).encode(np.zeros((64, 64, 3), np.uint8))
    for shard in range(run.layout.num_shards):
        samples = [sample for batch in run.layout.batches(shard) for sample in batch]
        body = b"".join(sample_bytes(one.key, sample_members(one, picture, "png", b"{}")) for one in samples)
        finish_shard(run.directory, shard, len(samples), body + end_of_archive(len(body)))
    given = [f"output_base_path={scratch}", "exp_name=finished", *overrides]
    return {
        "imports": _process(sizes, 0, "-c", "import jobs.execute.command"),
        "refusal": _process(sizes, 2, "-m", "jobs.generate", "no_such_option=1"),
        "nothing_to_do": _process(sizes, 0, "-m", "jobs.generate", *given),
        "status": _process(sizes, 1, "-m", "jobs.status", str(scratch / "half")),
    }


def _process(sizes: PlanSizes, code: int, *arguments: str) -> float:
    def once() -> None:
        done = subprocess.run([sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True)
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode} instead of {code}: {done.stderr}")

    return median_seconds(once, sizes.repeats)[1]


if __name__ == "__main__":
    print(json.dumps(plan_here(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
