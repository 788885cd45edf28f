"""What is measured: models and degrees, under which conditions, at which sizes."""

from dataclasses import dataclass

import torch

from jobs.options.degrees import Degrees
from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.common.denoisers import Scale, Size

SHARED = 4  # the largest number of ranks: divides heads, frames of latents and text tokens of a shrunk model
CASES = {  # model and degrees; the ranks of one number are spawned once
    1: [("wan", Degrees()), ("hunyuan", Degrees())],
    2: [("wan", Degrees(ulysses=2)), ("wan", Degrees(cfg=2)), ("hunyuan", Degrees(ulysses=2))],
    4: [("wan", Degrees(ulysses=4)), ("wan", Degrees(ulysses=2, cfg=2)), ("hunyuan", Degrees(ulysses=4))],
}


@dataclass(frozen=True)
class Conditions:
    """What is the same in all measurements of a call.

    Attributes:
        scale: Factor that the models are shrunk by.
        steps: Denoising steps of each run.
        device: "cpu" (gloo) or "cuda" (nccl).
        seconds: Time limit of the ranks of one number.
    """

    scale: float
    steps: int
    device: str
    seconds: float

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the denoisers."""
        return torch.bfloat16 if self.device == "cuda" else torch.float32


def size_of(name: str, scale: float) -> Size:
    """Return the size of a model that ``SHARED`` ranks can share: heads, frames and text are multiples of that."""
    size = MODELS[name].size(Scale(scale))
    if scale == 1:
        return size
    heads, text = _multiple(size.config["num_attention_heads"]), _multiple(size.text_tokens)
    frames = _multiple((size.call["num_frames"] - 1) // 4 + 1)
    tokens = frames * (size.call["height"] // 16) * (size.call["width"] // 16)
    return Size(
        size.config | {"num_attention_heads": heads},
        size.call | {"num_frames": 4 * frames - 3},
        text,
        (1, tokens, heads * size.config["attention_head_dim"]),
    )


def _multiple(number: int) -> int:
    return max(SHARED, SHARED * round(number / SHARED))
