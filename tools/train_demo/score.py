"""How often a pipeline draws what was asked, apart for sentences seen and never seen in training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from . import clips, shapes
from .draw import SIZE
from .measure import ASPECTS, judge, read, to_uint8
from .shapes import MAX_TOKENS
from .video_measure import ASPECTS as CLIP_ASPECTS
from .video_measure import judge_clip, read_clip

SEED = 777  # of the sentences and the noise; training never uses it
BATCH = 50


def load(directory: Path) -> DiffusionPipeline:
    """The pipeline in `directory`, in float32 and quiet."""
    pipeline = DiffusionPipeline.from_pretrained(directory, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def generate(
    pipeline: DiffusionPipeline, scenes: Tensor, steps: int, seed: int = SEED, guidance: float = 1.0
) -> Tensor:
    """Generates one picture for each scene's caption.

    Args:
        pipeline: Any FluxPipeline for pictures of SIZE x SIZE.
        scenes: int64 tensor of shape (n, 6).
        steps: Denoising steps.
        seed: Picture i is made from noise of seed + i.
        guidance: Above 1, classifier-free guidance against the empty prompt.

    Returns:
        uint8 tensor of shape (n, SIZE, SIZE, 3).
    """
    settings: dict[str, Any] = {"height": SIZE, "width": SIZE, "true_cfg_scale": guidance}
    if guidance > 1:
        settings["negative_prompt"] = ""
    return _generate(pipeline, [shapes.caption(row) for row in scenes], steps, seed, settings)


@torch.no_grad()
def generate_clips(
    pipeline: DiffusionPipeline, scenes: Tensor, steps: int, seed: int = SEED, guidance: float = 1.0
) -> Tensor:
    """Generates one clip for each scene's caption.

    Args:
        pipeline: Any WanPipeline for clips of `clips.FRAMES` frames of `clips.SIZE` x `clips.SIZE`.
        scenes: int64 tensor of shape (n, 4).
        steps, seed, guidance: As in `generate`.

    Returns:
        uint8 tensor of shape (n, FRAMES, SIZE, SIZE, 3).
    """
    size = {"height": clips.SIZE, "width": clips.SIZE, "num_frames": clips.FRAMES}
    captions = [clips.caption(row) for row in scenes]
    made = _generate(pipeline, captions, steps, seed, {**size, "guidance_scale": guidance})
    return made


def _generate(
    pipeline: DiffusionPipeline, captions: list[str], steps: int, seed: int, settings: dict[str, Any]
) -> Tensor:
    """uint8 of shape (n, …, height, width, 3), in batches of `BATCH`."""
    made = []
    for start in range(0, len(captions), BATCH):
        batch = captions[start : start + BATCH]
        output = pipeline(
            batch,
            num_inference_steps=steps,
            max_sequence_length=MAX_TOKENS,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(batch))],
            output_type="pt",
            **settings,
        )[0]
        channels = output.ndim - 3  # (n, 3, height, width), or (n, frames, 3, height, width)
        made.append(to_uint8(output.float().movedim(channels, 1) * 2 - 1))
    return torch.cat(made)


def accuracy(pictures: Tensor, scenes: Tensor) -> dict[str, float]:
    """Share of pictures that are right in each aspect, and in `all` of them.

    Args:
        pictures: uint8 tensor of shape (n, SIZE, SIZE, 3).
        scenes: int64 tensor of shape (n, 6).
    """
    judged = [judge(read(picture), scene) for picture, scene in zip(pictures, scenes, strict=True)]
    return _shares(judged, ASPECTS)


def clip_accuracy(made: Tensor, scenes: Tensor) -> dict[str, float]:
    """`accuracy` of clips, uint8 of shape (n, FRAMES, SIZE, SIZE, 3), for scenes of shape (n, 4)."""
    judged = [judge_clip(read_clip(clip), scene) for clip, scene in zip(made, scenes, strict=True)]
    return _shares(judged, CLIP_ASPECTS)


def _shares(judged: list[dict[str, bool]], aspects: list[str]) -> dict[str, float]:
    shares = {aspect: sum(row[aspect] for row in judged) / len(judged) for aspect in aspects}
    return {"all": sum(all(row.values()) for row in judged) / len(judged), **shares}


def test_scenes(n: int, held_out: bool) -> Tensor:
    """The scenes to score pictures on: mixed as in training, or two objects in a combination never trained."""
    return shapes.sample_scenes(n, torch.Generator().manual_seed(SEED + held_out), held_out=held_out)


def test_clip_scenes(n: int, held_out: bool) -> Tensor:
    """The scenes to score clips on: in combinations that training may show, or in those it never shows."""
    return clips.sample_scenes(n, torch.Generator().manual_seed(SEED + held_out), held_out=held_out)


def score(directory: Path, n: int, steps: int, guidance: float, video: bool = False) -> dict[str, Any]:
    """Scores an exported pipeline on `n` sentences of either kind; prints and returns the result."""
    pipeline = load(directory)
    scenes_of, make, accuracy_of = (
        (test_clip_scenes, generate_clips, clip_accuracy) if video else (test_scenes, generate, accuracy)
    )
    result: dict[str, Any] = {"n": n, "steps": steps, "guidance": guidance}
    spent = 0.0
    for name, held_out in (("seen", False), ("never_seen", True)):
        scenes = scenes_of(n, held_out)
        start = time.perf_counter()
        made = make(pipeline, scenes, steps, guidance=guidance)
        spent += time.perf_counter() - start
        result[name] = accuracy_of(made, scenes)
    result["seconds_per_sample"] = round(spent / (2 * n), 3)
    print(json.dumps(result, indent=2))
    return result
