"""Finished runs without a model: seeded pictures, and a json as real runs write it."""

from collections.abc import Callable
from pathlib import Path

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
    "dtype": "float32",
    "vae_dtype": "float32",
    "vae_tiling": False,
    "environment": {"device": "cpu", "name": "a processor", "cpu_threads": 1, "compile": False},
    "version": "0.0.0",
    "versions": {"torch": "2.13.0", "ffmpeg": ""},
}
HOW = {
    "evaluated_steps": 3,
    "algo": {"name": "spectrum", "w": 0.5, "m": 4, "evaluated": [0, 1, 7]},
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
) -> Run:
    """Make a run, ``folder/run``, and all of its shards.

    Args:
        prompts: the contents of its prompt file; JSON lines where they begin so.
        overrides: options of jobs.generate.
        fails: sample -> the reason for which it is given up.
        shards: those that are made; None: all.
        size: pixels of a side of a sample's picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ("prompts.jsonl" if prompts.startswith("{") else "prompts.txt")
    file.write_text(prompts)
    run = new_run(folder, f"prompt_file={file}", "shard_size=5", *overrides)
    make_shards(run, fails or {}, range(run.layout.num_shards) if shards is None else shards, size)
    return run


def make_shards(
    run: Run, fails: dict[int, str], shards: range, size: Callable[[Sample], int] = lambda sample: 16
) -> None:
    """Make shards of a run."""
    common = {**COMMON, "run": run.name, "run_id": run.id}
    writer = Writer(
        run.layout, ImageFormat("png", 95), common, sample_attempts=1, in_flight=3, report=lambda *event: None
    )
    for shard in shards:
        attempt = Attempt(run.directory, shard, fingerprint="same", device="cpu", log="some.log")
        writer.start(attempt)
        for index in run.layout.shard_range(shard):
            sample = run.layout.sample(index)
            if index in fails:
                writer.fail(attempt, sample, fails[index])
            else:
                writer.add(attempt, sample, picture(sample.seed, size(sample)), HOW, 0.5)
        writer.finish(attempt)
    writer.close()


def lines(count: int, start: int = 0) -> str:
    """Different prompts, one a line."""
    return "\n".join(f"a red circle, number {number}" for number in range(start, start + count))
