"""How often a pipeline draws what was asked, apart for sentences seen and never seen in training."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tools.training.domain import Domain

SEED = 777  # of the sentences and the noise; training never uses it
BATCH = 50


def load(directory: Path) -> DiffusionPipeline:
    """Return the pipeline in a directory, in float32 and quiet."""
    pipeline = DiffusionPipeline.from_pretrained(directory, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def generate(
    domain: Domain,
    pipeline: DiffusionPipeline,
    scenes: Tensor,
    steps: int,
    seed: int = SEED,
    guidance: float = 1.0,
) -> Tensor:
    """Generate one sample for each scene's caption.

    Args:
        domain: Of the pipeline.
        pipeline: Of the kind that the domain's ``call`` is for, and of its size.
        scenes: int64 tensor of shape (n, columns).
        steps: Denoising steps.
        seed: Sample i is made from noise of seed + i.
        guidance: Above 1, classifier-free guidance against the empty prompt.

    Returns:
        uint8 tensor of shape (n, [frames,] height, width, 3).
    """
    captions = [domain.caption(scene) for scene in scenes]
    made = []
    for start in range(0, len(captions), BATCH):
        batch = captions[start : start + BATCH]
        output = pipeline(
            batch,
            num_inference_steps=steps,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(batch))],
            output_type="pt",
            **domain.call(guidance),
        )[0]
        channels = output.ndim - 3  # (n, 3, height, width), or (n, frames, 3, height, width)
        made.append(to_uint8(output.float().movedim(channels, 1) * 2 - 1))
    return torch.cat(made)


def to_uint8(samples: Tensor) -> Tensor:
    """Convert float (n, 3, …, height, width) in -1..1 to uint8 (n, …, height, width, 3)."""
    return ((samples.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1)


def accuracy(domain: Domain, samples: Tensor, scenes: Tensor) -> dict[str, float]:
    """Return the share of samples that are right in each aspect, and in ``all`` of them.

    Args:
        domain: Of the samples.
        samples: uint8 tensor of shape (n, [frames,] height, width, 3).
        scenes: int64 tensor of shape (n, columns).
    """
    rows = judged(domain, samples, scenes)
    shares = {aspect: sum(row[aspect] for row in rows) / len(rows) for aspect in rows[0]}
    return {"all": sum(all(row.values()) for row in rows) / len(rows), **shares}


def judged(domain: Domain, samples: Tensor, scenes: Tensor) -> list[dict[str, bool]]:
    """Return for each sample whether it is right in each aspect; the arguments are those of ``accuracy``."""
    return [domain.judge(domain.read(sample), scene) for sample, scene in zip(samples, scenes, strict=True)]


def scored_scenes(domain: Domain, n: int, held_out: bool) -> Tensor:
    """Return the scenes to score on: such as training may show, or in combinations that it never shows."""
    return domain.sample_scenes(n, torch.Generator().manual_seed(SEED + held_out), held_out=held_out)


def score(domain: Domain, directory: Path, n: int, steps: int, guidance: float) -> dict[str, Any]:
    """Score an exported pipeline on ``n`` sentences of either kind; print and return the result."""
    pipeline = load(directory)
    result: dict[str, Any] = {"n": n, "steps": steps, "guidance": guidance}
    spent = 0.0
    for name, held_out in (("seen", False), ("never_seen", True)):
        scenes = scored_scenes(domain, n, held_out)
        start = time.perf_counter()
        made = generate(domain, pipeline, scenes, steps, guidance=guidance)
        spent += time.perf_counter() - start
        result[name] = accuracy(domain, made, scenes)
    result["seconds_per_sample"] = round(spent / (2 * n), 3)
    print(json.dumps(result, indent=2))
    return result
