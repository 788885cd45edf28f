"""The share of time in which the generator waits for encoding or writing.

A stand-in takes the place of the model: it sleeps as long as a fast GPU would compute and hands over pictures made
beforehand, so that the cores are free for the encoders as they are beside a GPU. Everything else is the worker's own
code. The embedded model's share is measured too; on a CPU it computes on the very cores that the encoders want.
"""

import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from jobs.dataset.layout import Sample
from jobs.execute import worker
from jobs.media.image import ImageFormat
from jobs.model.pipeline import Made
from jobs.run.open import create
from jobs.store.writer import ENCODERS
from tools.benchmarks.runner.plan import PROJECT, opened_run, write_prompts

POOL = 8  # different pictures
STAND_IN = "stand-in for a fast GPU (sleeps)"
QUALITY = 95


@dataclass(frozen=True)
class OverlapSizes:
    """``seconds`` is what the stand-in takes for a batch; ``model_samples`` 0 leaves the embedded model out."""

    formats: tuple[str, ...] = ("png", "jpg", "webp")
    side: int = 1024
    batch: int = 4
    seconds: float = 1.0
    shards: int = 4
    shard_size: int = 16
    model_samples: int = 24


class StandIn:
    """What the worker takes for a loaded model. ``busy`` counts the seconds it was asked to generate."""

    pipeline = SimpleNamespace(scheduler=SimpleNamespace(config={}))

    def __init__(self, pictures: list[np.ndarray], seconds: float):
        self.pictures, self.seconds, self.busy = pictures, seconds, 0.0

    def __call__(self, batch: list[Sample]) -> list[Made]:
        start = time.perf_counter()
        time.sleep(self.seconds)
        self.busy += time.perf_counter() - start
        return [Made(self.pictures[sample.index % len(self.pictures)], {"flagged": False}) for sample in batch]


def measure(scratch: Path, sizes: OverlapSizes) -> dict[str, Any]:
    """Measure shares of wall time, and what encoding one picture costs."""
    pictures = [picture(seed, sizes.side) for seed in range(POOL)]
    rows = [_stand_in(scratch, image_format, pictures, sizes) for image_format in sizes.formats]
    result: dict[str, Any] = {
        "generator": STAND_IN,
        "encoders": ENCODERS,
        "side": sizes.side,
        "batch": sizes.batch,
        "seconds_per_batch": sizes.seconds,
        "shards": sizes.shards,
        "shard_size": sizes.shard_size,
        "formats": rows,
    }
    if sizes.model_samples:
        result["embedded_model"] = _embedded(scratch, sizes.model_samples)
    return result


def picture(seed: int, side: int) -> np.ndarray:
    """Make a random picture that compresses like a photograph: large soft shapes, finer ones, a little noise."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells, strength in ((4, 90.0), (32, 30.0), (128, 12.0)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += (np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) / 127.5 - 1) * strength
    return np.clip(total + 128 + rng.normal(0, 2, total.shape), 0, 255).astype(np.uint8)


def _stand_in(scratch: Path, image_format: str, pictures: list[np.ndarray], sizes: OverlapSizes) -> dict[str, Any]:
    prompts = write_prompts(scratch / "overlap.txt", sizes.shards * sizes.shard_size)
    overrides = {
        "prompt_file": prompts,
        "shard_size": sizes.shard_size,
        "batch_size": sizes.batch,
        "image_format": image_format,
        "image_quality": QUALITY,
        "algo": "nocache",
    }
    given = [f"{name}={value}" for name, value in overrides.items()]
    run = opened_run(scratch / f"overlap-{image_format}", *given)
    create(run)
    generator = StandIn(pictures, sizes.seconds)
    start = time.perf_counter()
    with patch.object(worker, "load_pipeline", lambda *_, **__: generator):
        waited = worker.generate_shards(run, run.unfinished(), device="cpu", log_path="", report=lambda *_: None)
    seconds = time.perf_counter() - start
    if run.unfinished():
        raise RuntimeError(f"the stand-in's run with image_format={image_format} did not finish")
    return {
        "format": image_format,
        "samples": run.layout.num_samples,
        "seconds": seconds,
        "waited_share": waited,
        "idle_share": 1 - generator.busy / seconds,
        **_encoding(ImageFormat(image_format, QUALITY), pictures),
    }


def _encoding(image_format: ImageFormat, pictures: list[np.ndarray]) -> dict[str, float]:
    """Measure what one picture costs on one core, with nothing of ours beside it."""
    seconds, sizes = [], []
    for image in pictures:
        start = time.thread_time()
        sizes.append(len(image_format.encode(image)))
        seconds.append(time.thread_time() - start)
    return {"encode_cpu_seconds": statistics.median(seconds), "picture_bytes": statistics.median(sizes)}


def _embedded(scratch: Path, samples: int) -> dict[str, Any]:
    """Run the default model; its worker's log tells the share. An ``error`` says why there is none."""
    prompts = PROJECT / "prompts" / "shapes.txt"
    command = [sys.executable, "-m", "jobs.generate", f"output_base_path={scratch}", "exp_name=embedded"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, f"prompt_file={prompts}", f"total_prompt_num={samples}", "shard_size=8"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    logs = "".join(path.read_text() for path in sorted((scratch / "embedded" / "logs").glob("*.log")))
    share = re.search(r"waited for encoding or writing ([\d.]+) %", logs)
    if done.returncode or not share:
        return {"error": (done.stderr.strip() or "no share in the worker's log").splitlines()[-1]}
    return {"samples": samples, "seconds": seconds, "waited_share": float(share[1]) / 100}
