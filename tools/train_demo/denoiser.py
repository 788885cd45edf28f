"""Trains the denoiser and both text encoders by flow matching on latents of drawn pictures."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import autoencoder, checkpoint
from .draw import draw
from .models import Denoiser, pack
from .shapes import MAX_TOKENS, caption, sample_scenes
from .text import new_tokenizer

CAPTION_DROPOUT = 0.1  # empty prompts in training make classifier-free guidance work
WARMUP_STEPS, COOLDOWN_SHARE = 100, 0.2
SAVE_EVERY_S = 150.0


@dataclass
class Pool:
    """Pictures drawn and encoded once, with their tokens."""

    latents: Tensor  # float16 (n, 64, 16), packed, mean 0 and standard deviation 1
    t5_ids: Tensor  # int64 (n, MAX_TOKENS)
    clip_ids: Tensor  # int64 (n, MAX_TOKENS)


def tokens(captions: list[str]) -> tuple[Tensor, Tensor]:
    """T5 and CLIP token ids, int64 of shape (n, MAX_TOKENS) each."""
    tokenizers = new_tokenizer(with_bos=False), new_tokenizer(with_bos=True)
    encoded = [t(captions, padding="max_length", max_length=MAX_TOKENS).input_ids for t in tokenizers]
    return torch.tensor(encoded[0]), torch.tensor(encoded[1])


@torch.no_grad()
def load_pool(work: Path, n: int, seed: int, chunk: int = 256) -> Pool:
    """Draws and encodes `n` pictures, or reads them from `work/pool.pt` if an earlier run did."""
    state = checkpoint.load(work / "pool.pt")
    if state is None or len(state["latents"]) < n:
        generator = torch.Generator().manual_seed(seed)
        model, scenes = autoencoder.load(work), sample_scenes(n, generator)
        latents = torch.empty(n, 64, 16, dtype=torch.float16)
        for start in range(0, n, chunk):
            rows = slice(start, start + chunk)
            encoded = model.encode(draw(scenes[rows], generator)).latent_dist.mode()
            latents[rows] = pack((encoded - model.config.shift_factor) * model.config.scaling_factor)
        state = {"latents": latents, "scenes": scenes}
        checkpoint.save(work / "pool.pt", state)
    return Pool(state["latents"], *tokens([caption(scene) for scene in state["scenes"]]))


def new_optimizers(model: Denoiser, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' attention and feed-forward matrices, AdamW for all else."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        block = "transformer_blocks" in name or ".block." in name or ".layers." in name  # of Flux, T5, CLIP
        hidden = parameter.ndim == 2 and block and "norm" not in name and "bias" not in name
        (matrices if hidden else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def noise_levels(n: int, generator: torch.Generator) -> Tensor:
    """Shares of noise, float of shape (n,): logit-normal, one from each of n equally likely slices."""
    slices = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return torch.special.ndtri(slices.clamp(1e-4, 1 - 1e-4)).mul(1.1).add(0.6).sigmoid()


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
    generator = torch.Generator().manual_seed(seed + 1)
    model = Denoiser()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizers = new_optimizers(model, muon_lr, adam_lr)
    path, step, spent, losses = work / "denoiser.pt", 0, 0.0, []
    if state := checkpoint.load(path):
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        generator.set_state(state["generator"])
        step, spent = state["step"], state["spent"]

    def save() -> None:
        state = {"model": model.state_dict(), "average": average.state_dict(), "step": step, "spent": spent}
        state |= {"optimizers": [o.state_dict() for o in optimizers], "generator": generator.get_state()}
        checkpoint.save(path, state)

    last_save = spent
    while spent < minutes * 60:
        start = time.perf_counter()
        left = 1 - spent / (minutes * 60)
        scale = min(1.0, (step + 1) / WARMUP_STEPS, left / COOLDOWN_SHARE)
        for optimizer, rate in zip(optimizers, (muon_lr, adam_lr), strict=True):
            optimizer.param_groups[0]["lr"] = rate * scale

        rows = torch.randint(len(pool.latents), (batch,), generator=generator)
        picture = pool.latents[rows].float()
        noise = torch.randn(picture.shape, generator=generator)
        sigma = noise_levels(batch, generator)
        dropped = (torch.rand(batch, generator=generator) < CAPTION_DROPOUT)[:, None]
        t5_ids = torch.where(dropped, empty_t5, pool.t5_ids[rows])
        clip_ids = torch.where(dropped, empty_clip, pool.clip_ids[rows])
        noisy = picture.lerp(noise, sigma[:, None, None])
        # Of the attention kernels for CPUs, the plain one is the fastest backwards at 80 tokens.
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            velocity = model(noisy, sigma, t5_ids, clip_ids)
        loss = F.mse_loss(velocity.float(), noise - picture)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(0.995, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)

        losses.append(loss.item())
        step, spent = step + 1, spent + time.perf_counter() - start
        if step % 20 == 0:
            mean = sum(losses) / len(losses)
            checkpoint.append_row(work / "denoiser.csv", "step,seconds,loss,rate", step, spent, mean, scale)
            print(f"step {step}  {spent:.0f} s  loss {mean:.4f}  rate {scale:.2f}", flush=True)
            losses.clear()
        if spent - last_save > SAVE_EVERY_S:
            last_save = spent
            save()
    save()
