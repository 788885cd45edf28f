"""Finished runs without a model: seeded pictures, and a json as real runs write it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.dataset.layout import Sample
from jobs.media.image import ImageFormat
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.writer import Writer
from tests.support import new_run, picture

COMMON = {
    "run": "",
    "run_id": "",
    "model": "demo",
    "checkpoint": "embedded:image",
    "revision": "0123456789abcdef",
    "pipeline": "FluxPipeline",
    "scheduler": "FlowMatchEulerDiscreteScheduler",
    "scheduler_config": "{}",
    "variant": "",
    "loras": "[]",
    "fuse_loras": False,
    "quantization": "{}",
    "dtype": "float32",
    "vae_dtype": "float32",
    "vae_tiling": False,
    "environment": {
        **{name: "" for name in ("cuda", "cudnn", "matmul", "convolution", "tf32_override", "parallel")},
        **{"device": "cpu", "name": "a processor", "capability": "AVX2", "attention": "native", "offload": "none"},
        **{"compile": "none", "cpu_threads": 1},
    },
    "version": "0.0.0",
    "versions": {
        **{"torch": "2.13.0", "diffusers": "0.42.1", "transformers": "5.23.0", "numpy": "2.4.6", "pillow": "13.0.0"},
        **{"ftfy": "6.3.1", "ffmpeg": ""},
    },
}
HOW = {
    "evaluated_steps": 3,
    "algo": {
        **{"name": "spectrum", "target": "features", "weights": "chebyshev", "calibration": "", "schedule": "window"},
        **{"expected_psnr": 0.0, "expected_ssim": 0.0, "w": 0.5, "lam": 0.1, "m": 4, "horizon": 8, "force_last": 0},
        **{"warmup_steps": 2, "window_size": 2.0, "flex_window": 0.75, "evaluated": [0, 1, 7]},
    },
    "batch": 2,
    "batch_position": 0,
    "call": "{}",
    "encoders": [{"encoder": "text_encoder", "tokens": 9, "limit": 16}],
    "flagged": False,
}


def finished_run(
    folder: Path,
    prompts: str,
    *overrides: str,
    fails: dict[int, str] | None = None,
    shards: range | None = None,
    size: Callable[[Sample], int] = lambda sample: 16,
    common: dict[str, Any] | None = None,
    how: dict[str, Any] | None = None,
    audits: dict[int, dict[str, Any]] | None = None,
) -> Run:
    """Make a run, ``folder/run``, and all of its shards.

    Args:
        prompts: the contents of its prompt file; JSON lines where they begin so.
        overrides: options of jobs.generate.
        fails: sample -> the reason for which it is given up.
        shards: those that are made; None: all.
        size: pixels of a side of a sample's picture.
        common, how: what its samples' json says otherwise than ``COMMON`` and ``HOW``.
        audits: sample -> what its audit found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ("prompts.jsonl" if prompts.startswith("{") else "prompts.txt")
    file.write_text(prompts)
    run = new_run(folder, f"prompt_file={file}", "shard_size=5", *overrides)
    made = range(run.layout.num_shards) if shards is None else shards
    make_shards(run, fails or {}, made, size, common=common, how=how, audits=audits)
    return run


def make_shards(
    run: Run,
    fails: dict[int, str],
    shards: range,
    size: Callable[[Sample], int] = lambda sample: 16,
    *,
    common: dict[str, Any] | None = None,
    how: dict[str, Any] | None = None,
    audits: dict[int, dict[str, Any]] | None = None,
    report: Callable[..., None] = lambda *event: None,
) -> None:
    """Make shards of a run, or what is left of them; see ``finished_run``."""
    common = {**COMMON, **(common or {}), "run": run.name, "run_id": run.id}
    how = {**HOW, **(how or {})}
    audits = audits or {}
    writer = Writer(run.layout, ImageFormat("png", 95), common, sample_attempts=1, in_flight=3, report=report)
    for shard in shards:
        attempt = Attempt(run.directory, shard, fingerprint="same", device="cpu", log="some.log")
        writer.start(attempt)
        for index in run.layout.shard_range(shard):
            sample = run.layout.sample(index)
            if attempt.inherits(index):
                writer.inherit(attempt, sample)
            elif index in fails:
                writer.fail(attempt, sample, fails[index])
            else:
                media = picture(sample.seed, size(sample))
                writer.add(attempt, sample, media, how, 0.5, audits.get(index))
        writer.finish(attempt)
    writer.close()


def lines(count: int, start: int = 0) -> str:
    """Different prompts, one a line."""
    return "\n".join(f"a red circle, number {number}" for number in range(start, start + count))
