"""End to end: samples an hour of the runner, and of its pipeline in a loop with the same options, in turns."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image

from jobs.execute import worker
from jobs.execute.overlap import Overlap
from jobs.model.pipeline import BatchPipeline
from jobs.run.open import create
from jobs.run.run import Run
from tools.benchmarks.runner.plan import PROJECT, opened_run
from tools.benchmarks.throughput.stages import STAGES, Clocked, ClockedFormat, untouched

PLAIN, APART, OVERLAPPED = "plain loop", "batch by batch", "overlapped"  # the candidates
SIDE = 1024
PROMPTS = {"demo": "shapes.txt", "demo-video": "shapes-video.txt"}


@dataclass(frozen=True)
class Case:
    """What is generated.

    Attributes:
        name: for the page.
        model: an embedded one.
        samples: of one turn.
        options: further ones.
        large: whether pictures are enlarged to 1024 x 1024 before they are encoded; the plain loop is left out then.
    """

    name: str
    model: str
    samples: int
    options: tuple[str, ...] = ()
    large: bool = False


CASES = (
    Case("demo", "demo", 24),
    Case("demo-video", "demo-video", 48),
    Case("demo, png of 1024 x 1024", "demo", 16, ("image_format=png",), large=True),
    Case("demo, jpg of 1024 x 1024", "demo", 16, ("image_format=jpg",), large=True),
)


def measure(scratch: Path, cases: Iterable[Case], repeats: int, more: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Measure each case, its candidates in turns.

    Args:
        scratch: an empty folder, which gets the datasets.
        cases: what is generated.
        repeats: turns.
        more: options of all runs.

    Returns:
        One row a case: what was asked, and of each candidate samples an hour and busy shares (medians), and the ratios
        of its samples an hour to those of the others (medians of the ratios within a turn).
    """
    loaded: dict[str, Clocked] = {}
    rows = []
    for number, case in enumerate(cases):
        folder = scratch / f"case{number}"
        folder.mkdir()
        run = _run(folder / "first", case, more)
        if case.model not in loaded:
            loaded[case.model] = Clocked.of(worker.load(run, "cpu", None))
        rows.append(_case(folder, case, run, loaded[case.model], repeats, more))
    return rows


def _case(folder: Path, case: Case, run: Run, pipeline: Clocked, repeats: int, more: tuple[str, ...]) -> dict[str, Any]:
    _loop(pipeline, run, folder / "warm", case.samples, batches=1)
    candidates: dict[str, Callable[[Path], dict[str, float]]] = {
        APART: lambda path: _runner(pipeline, case, path, more, overlaps=False),
        OVERLAPPED: lambda path: _runner(pipeline, case, path, more, overlaps=True),
    }
    if not case.large:
        candidates = {PLAIN: lambda path: _loop(pipeline, run, path, case.samples), **candidates}
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in candidates}
    for turn in range(repeats):
        names = list(candidates)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            turns[name].append(candidates[name](folder / f"{name.replace(' ', '-')}{turn}"))
    return {
        "case": case.name,
        "samples": case.samples,
        "batch": run.options.batch_size,
        "steps": run.options.num_inference_steps,
        "guidance": run.options.guidance_scale,
        "algo": run.options.algo.name,
        "candidates": [
            {
                "name": name,
                "ratios": {other: _ratio(found, turns[other]) for other in turns},
                **{key: statistics.median(one[key] for one in found) for key in found[0]},
            }
            for name, found in turns.items()
        ],
    }


def _ratio(found: list[dict[str, float]], others: list[dict[str, float]]) -> float:
    return statistics.median(one["rate"] / other["rate"] for one, other in zip(found, others, strict=True))


def _run(path: Path, case: Case, more: tuple[str, ...]) -> Run:
    given = (f"model={case.model}", f"prompt_file={PROJECT / 'prompts' / PROMPTS[case.model]}")
    counts = (f"total_prompt_num={case.samples}", f"shard_size={case.samples}")
    return opened_run(path, *given, *counts, *case.options, *more)


def _runner(pipeline: Clocked, case: Case, path: Path, more: tuple[str, ...], *, overlaps: bool) -> dict[str, float]:
    """Make a run as a worker does, published and all."""
    pipeline.restart()
    run = _run(path, case, more)
    run = replace(run, media=ClockedFormat(run.media, pipeline.spent, SIDE if case.large else None))
    create(run)

    def overlap(loaded: BatchPipeline, room: None) -> Overlap:
        made = Overlap(loaded, room)
        if not overlaps:
            made.end()
        return made

    start = time.perf_counter()
    with patch.object(worker, "load", lambda *_: pipeline), patch.object(worker, "Overlap", overlap):
        waited = worker.generate_shards(run, [0], device="cpu", log_path="", report=lambda *_: None)
    seconds = time.perf_counter() - start
    if run.unfinished():
        raise RuntimeError(f"the run of {case.name} did not finish")
    shares = {stage: pipeline.spent[stage] / seconds for stage in STAGES}
    return {"rate": 3600 * case.samples / seconds, **shares, "waited": waited}


def _loop(pipeline: Clocked, run: Run, path: Path, samples: int, batches: int | None = None) -> dict[str, float]:
    """Call the pipeline of diffusers in a loop, and save what it gives before the next call."""
    path.mkdir()
    saving = 0.0
    start = time.perf_counter()
    with untouched(pipeline.pipeline) as plain:
        for batch in run.layout.batches(0)[:batches]:
            result = plain(
                prompt=[sample.prompt for sample in batch],
                generator=[torch.Generator("cpu").manual_seed(sample.seed) for sample in batch],
                **pipeline.arguments(batch),
            )
            before = time.perf_counter()
            made = result.frames if run.makes_clips else result.images
            for sample, media in zip(batch, (made * 255).round().astype(np.uint8), strict=True):
                _save(path / sample.key, media, run)
            saving += time.perf_counter() - before
    seconds = time.perf_counter() - start
    return {"rate": 3600 * samples / seconds, "encode": saving / seconds}


def _save(path: Path, media: np.ndarray, run: Run) -> None:
    if not run.makes_clips:
        Image.fromarray(media).save(path.with_suffix(f".{run.media.name}"))
        return
    crf = ["-crf", str(run.options.video_crf)]
    _, height, width, _ = media.shape
    clip = imageio_ffmpeg.write_frames(
        str(path.with_suffix(".mp4")), (width, height), fps=run.media.fps, quality=None, output_params=crf
    )
    clip.send(None)
    clip.send(np.ascontiguousarray(media))
    clip.close()
