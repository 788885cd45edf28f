"""How often the pipeline draws what was asked, apart for sentences seen and never seen in training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, FluxPipeline
from torch import Tensor

from .draw import SIZE
from .measure import ASPECTS, judge, read, to_uint8
from .shapes import MAX_TOKENS, caption, sample_scenes

SEED = 777  # of the sentences and the noise; training never uses it
BATCH = 50


def load(directory: Path) -> FluxPipeline:
    """The pipeline in `directory`, in float32 and quiet."""
    pipeline = DiffusionPipeline.from_pretrained(directory, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def generate(pipeline: FluxPipeline, scenes: Tensor, steps: int, seed: int = SEED, guidance: float = 1.0) -> Tensor:
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
    pictures = []
    for start in range(0, len(scenes), BATCH):
        rows = scenes[start : start + BATCH]
        output = pipeline(
            [caption(row) for row in rows],
            negative_prompt="" if guidance > 1 else None,
            true_cfg_scale=guidance,
            height=SIZE,
            width=SIZE,
            num_inference_steps=steps,
            max_sequence_length=MAX_TOKENS,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(rows))],
            output_type="pt",
        )
        pictures.append(to_uint8(output.images.float() * 2 - 1))
    return torch.cat(pictures)


def accuracy(pictures: Tensor, scenes: Tensor) -> dict[str, float]:
    """Share of pictures that are right in each aspect, and in `all` of them.

    Args:
        pictures: uint8 tensor of shape (n, SIZE, SIZE, 3).
        scenes: int64 tensor of shape (n, 6).
    """
    judged = [judge(read(picture), scene) for picture, scene in zip(pictures, scenes, strict=True)]
    shares = {aspect: sum(row[aspect] for row in judged) / len(judged) for aspect in ASPECTS}
    return {"all": sum(all(row.values()) for row in judged) / len(judged), **shares}


def test_scenes(n: int, held_out: bool) -> Tensor:
    """The scenes to score on: mixed as in training, or two objects in a combination never trained."""
    return sample_scenes(n, torch.Generator().manual_seed(SEED + held_out), held_out=held_out)


def score(directory: Path, n: int, steps: int, guidance: float = 1.0) -> dict[str, Any]:
    """Scores an exported pipeline on `n` sentences of either kind; prints and returns the result."""
    pipeline = load(directory)
    result: dict[str, Any] = {"n": n, "steps": steps, "guidance": guidance}
    start = time.perf_counter()
    for name, held_out in (("seen", False), ("never_seen", True)):
        scenes = test_scenes(n, held_out)
        result[name] = accuracy(generate(pipeline, scenes, steps, guidance=guidance), scenes)
    result["seconds_per_picture"] = round((time.perf_counter() - start) / (2 * n), 3)
    print(json.dumps(result, indent=2))
    return result
