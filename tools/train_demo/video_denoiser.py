"""Trains the video denoiser and its text encoder by flow matching on latents of drawn clips."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from . import checkpoint, video_autoencoder
from .clips import caption, draw, sample_scenes, words
from .denoiser import CAPTION_DROPOUT, SCHEDULE, flow_loss, new_optimizers
from .loop import fit
from .shapes import MAX_TOKENS
from .text import new_tokenizer
from .video_models import VideoDenoiser


def tokens(captions: list[str]) -> Tensor:
    """Token ids, int64 of shape (n, MAX_TOKENS)."""
    tokenizer = new_tokenizer(words())
    return torch.tensor(tokenizer(captions, padding="max_length", max_length=MAX_TOKENS).input_ids)


@torch.no_grad()
def load_pool(work: Path, n: int, seed: int, chunk: int = 128) -> tuple[Tensor, Tensor]:
    """Draws and encodes `n` clips, or reads them from `work/pool.pt` if an earlier run did.

    Returns:
        Latents, float16 of shape (n, 16, 5, 6, 6), and tokens, int64 of shape (n, MAX_TOKENS).
    """
    state = checkpoint.load(work / "pool.pt")
    if state is None or len(state["latents"]) < n:
        generator = Generator().manual_seed(seed)
        model, scenes = video_autoencoder.load(work), sample_scenes(n, generator)
        encoded = [video_autoencoder.encode(model, draw(rows, generator)).half() for rows in scenes.split(chunk)]
        state = {"latents": torch.cat(encoded), "scenes": scenes}
        checkpoint.save(work / "pool.pt", state)
    return state["latents"], tokens([caption(scene) for scene in state["scenes"]])


def train(
    work: Path,
    minutes: float,
    batch: int = 64,
    muon_lr: float = 2e-3,
    adam_lr: float = 1e-3,
    pool_size: int = 5_000,
    seed: int = 0,
) -> None:
    """Trains for `minutes` of computing in all, over however many runs, and keeps `work/denoiser.pt`.

    Args:
        work: Directory with the trained autoencoder; receives the pool, the checkpoint and the loss curve.
        minutes: Time budget; the learning rate falls linearly to zero over its last fifth.
        batch: Clips a step.
        muon_lr, adam_lr: Highest learning rates.
        pool_size: Clips drawn.
        seed: Of weights, clips and noise.
    """
    latents, ids = load_pool(work, pool_size, seed + 10)
    empty = tokens([""])
    torch.manual_seed(seed)
    model = VideoDenoiser()

    def draw_loss(generator: Generator) -> Tensor:
        rows = torch.randint(len(latents), (batch,), generator=generator)
        dropped = (torch.rand(batch, generator=generator) < CAPTION_DROPOUT)[:, None]
        read = torch.where(dropped, empty, ids[rows])
        return flow_loss(lambda x, sigma: model(x, sigma, read), latents[rows].float(), generator)

    optimizers = new_optimizers(model, muon_lr, adam_lr)
    fit(work / "denoiser.pt", model, optimizers, draw_loss, minutes, SCHEDULE, seed=seed + 1)
