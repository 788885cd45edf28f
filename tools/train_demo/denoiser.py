"""Trains the denoiser and both text encoders by flow matching on latents of drawn pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import autoencoder, checkpoint
from .draw import draw
from .loop import Schedule, fit
from .models import Denoiser, pack
from .shapes import MAX_TOKENS, caption, sample_scenes, words
from .text import new_tokenizer

CAPTION_DROPOUT = 0.1  # empty prompts in training make classifier-free guidance work
SCHEDULE = Schedule(warmup_steps=100, cooldown_share=0.2, average_decay=0.995)


@dataclass
class Pool:
    """Pictures drawn and encoded once, with their tokens."""

    latents: Tensor  # float16 (n, 64, 16), packed, mean 0 and standard deviation 1
    t5_ids: Tensor  # int64 (n, MAX_TOKENS)
    clip_ids: Tensor  # int64 (n, MAX_TOKENS)


def tokens(captions: list[str]) -> tuple[Tensor, Tensor]:
    """T5 and CLIP token ids, int64 of shape (n, MAX_TOKENS) each."""
    tokenizers = new_tokenizer(words()), new_tokenizer(words(), with_bos=True)
    encoded = [t(captions, padding="max_length", max_length=MAX_TOKENS).input_ids for t in tokenizers]
    return torch.tensor(encoded[0]), torch.tensor(encoded[1])


@torch.no_grad()
def load_pool(work: Path, n: int, seed: int, chunk: int = 256) -> Pool:
    """Draws and encodes `n` pictures, or reads them from `work/pool.pt` if an earlier run did."""
    state = checkpoint.load(work / "pool.pt")
    if state is None or len(state["latents"]) < n:
        generator = Generator().manual_seed(seed)
        model, scenes = autoencoder.load(work), sample_scenes(n, generator)
        latents = torch.empty(n, 64, 16, dtype=torch.float16)
        for start in range(0, n, chunk):
            rows = slice(start, start + chunk)
            encoded = model.encode(draw(scenes[rows], generator)).latent_dist.mode()
            latents[rows] = pack((encoded - model.config.shift_factor) * model.config.scaling_factor)
        state = {"latents": latents, "scenes": scenes}
        checkpoint.save(work / "pool.pt", state)
    return Pool(state["latents"], *tokens([caption(scene) for scene in state["scenes"]]))


def new_optimizers(model: nn.Module, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' attention and feed-forward matrices, AdamW for all else."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        block = "blocks." in name or ".block." in name or ".layers." in name  # of Flux and Wan, T5, CLIP
        hidden = parameter.ndim == 2 and block and "norm" not in name and "bias" not in name
        (matrices if hidden else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def noise_levels(n: int, generator: Generator) -> Tensor:
    """Shares of noise, float of shape (n,): logit-normal, one from each of n equally likely slices."""
    slices = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return torch.special.ndtri(slices.clamp(1e-4, 1 - 1e-4)).mul(1.1).add(0.6).sigmoid()


def flow_loss(velocity: Callable[[Tensor, Tensor], Tensor], latents: Tensor, generator: Generator) -> Tensor:
    """Mean squared error of the velocity between latents and noise.

    Args:
        velocity: The model: (noisy latents, share of noise (n,)) -> prediction of noise minus latents.
        latents: float32, n first.
        generator: Of noise and its shares.

    Returns:
        Scalar.
    """
    noise = torch.randn(latents.shape, generator=generator)
    sigma = noise_levels(len(latents), generator)
    noisy = latents.lerp(noise, sigma.view(-1, *[1] * (latents.ndim - 1)))
    # Of the attention kernels for CPUs, the plain one is the fastest backwards at 80 to 180 tokens.
    with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        prediction = velocity(noisy, sigma)
    return F.mse_loss(prediction.float(), noise - latents)


def train(
    work: Path,
    minutes: float,
    batch: int = 64,
    muon_lr: float = 2e-3,
    adam_lr: float = 1e-3,
    pool_size: int = 24_000,
    seed: int = 0,
) -> None:
    """Trains for `minutes` of computing in all, over however many runs, and keeps `work/denoiser.pt`.

    Args:
        work: Directory with the trained autoencoder; receives the pool, the checkpoint and the loss curve.
        minutes: Time budget; the learning rate falls linearly to zero over its last fifth.
        batch: Pictures a step.
        muon_lr, adam_lr: Highest learning rates.
        pool_size: Pictures drawn.
        seed: Of weights, pictures and noise.
    """
    pool = load_pool(work, pool_size, seed + 10)
    empty_t5, empty_clip = tokens([""])
    torch.manual_seed(seed)
    model = Denoiser()

    def draw_loss(generator: Generator) -> Tensor:
        rows = torch.randint(len(pool.latents), (batch,), generator=generator)
        dropped = (torch.rand(batch, generator=generator) < CAPTION_DROPOUT)[:, None]
        t5_ids = torch.where(dropped, empty_t5, pool.t5_ids[rows])
        clip_ids = torch.where(dropped, empty_clip, pool.clip_ids[rows])
        return flow_loss(lambda x, sigma: model(x, sigma, t5_ids, clip_ids), pool.latents[rows].float(), generator)

    optimizers = new_optimizers(model, muon_lr, adam_lr)
    fit(work / "denoiser.pt", model, optimizers, draw_loss, minutes, SCHEDULE, seed=seed + 1)
