"""The clips that the cost model is asked about: what their steps are, counted for each choice of degrees."""

import math
import statistics
import sys
from dataclasses import asdict, replace
from typing import Any

import torch

from jobs.options.degrees import Degrees
from jobs.parallel.limits import features_bytes
from spectrum import SpectrumConfig, StepPlan
from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.common.denoisers import Scale, Size, call_arguments
from tools.benchmarks.parallel.count import META, branches, count_step
from tools.benchmarks.parallel.predict import STEPS

HEIGHT, WIDTH = 720, 1280
CLIPS = (("hunyuan", 129), ("wan", 81), ("wan", 129))  # model and frames
_ULYSSES = [Degrees(ulysses=degree) for degree in (1, 2, 4, 8)]
DEGREES = {
    "hunyuan": _ULYSSES,
    "wan": [
        *_ULYSSES,
        Degrees(ulysses=4, ring=2),
        *(Degrees(ulysses=degree, cfg=2) for degree in (1, 2, 4)),
    ],
}


def count_clips() -> list[dict[str, Any]]:
    """Count every clip for its degrees; some seconds each."""
    plan = StepPlan.build(STEPS, SpectrumConfig())
    rows = round(statistics.mean(map(len, plan.coefficients.values())))
    counted = []
    for name, frames in CLIPS:
        size = _size(name, frames)
        calls = branches(call_arguments(MODELS[name], size, META, torch.bfloat16))
        for degrees in sorted(DEGREES[name], key=lambda one: (one.size, one.cfg, one.ring)):
            print(f"counting: {name}, {frames} frames, {degrees}", file=sys.stderr)
            steps = {
                kind: asdict(count_step(MODELS[name], size, degrees, torch.bfloat16, of))
                for kind, of in (("evaluated", None), ("forecast", rows))
            }
            kept = features_bytes(math.prod(size.feature), calls, len(plan.rows), torch.bfloat16.itemsize, degrees)
            clip = {"model": name, "frames": frames, "degrees": asdict(degrees), "history_bytes": kept}
            counted.append(clip | steps)
    return counted


def _size(name: str, frames: int) -> Size:
    size = MODELS[name].size(Scale(1))
    tokens = ((frames - 1) // 4 + 1) * (HEIGHT // 16) * (WIDTH // 16)
    heads = size.config["num_attention_heads"]
    return replace(
        size,
        call={"height": HEIGHT, "width": WIDTH, "num_frames": frames},
        feature=(1, tokens, heads * size.config["attention_head_dim"]),
    )
