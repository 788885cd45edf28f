"""Trains the AutoencoderKL: 64x64 RGB <-> 4 latent channels at 16x16."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from . import checkpoint
from .draw import SIZE, draw
from .shapes import sample_scenes

KL_WEIGHT = 3e-4
COOLDOWN_SHARE = 0.3  # of the time, in which the learning rate falls linearly to zero
SAVE_EVERY_S = 60.0


def new_autoencoder() -> AutoencoderKL:
    """The architecture, with random weights."""
    return AutoencoderKL(
        block_out_channels=(
            16,
            32,
            64,
        ),  # three of them: FluxPipeline derives its downsampling of 4 from that
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
        shift_factor=0.0,
        force_upcast=False,
    )


def pictures(n: int, generator: torch.Generator) -> Tensor:
    """Freshly drawn training pictures, float32 of shape (n, 3, SIZE, SIZE) in -1..1."""
    return draw(sample_scenes(n, generator), generator)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1, over the whole batch's mean squared error."""
    return float(10 * torch.log10(4 / F.mse_loss(a.clamp(-1, 1), b.clamp(-1, 1))))


def edge_weight(target: Tensor) -> Tensor:
    """How much each pixel's error counts: an edge between similar colours as much as one between black and white.

    Args:
        target: float tensor of shape (n, 3, height, width) in -1..1.

    Returns:
        float tensor of shape (n, 1, height, width).
    """
    step = (F.max_pool2d(target, 3, 1, 1) + F.max_pool2d(-target, 3, 1, 1)).amax(1, keepdim=True)
    return torch.where(step > 0.02, 1 / (step + 0.15), 0.5)


@torch.no_grad()
def set_latent_scale(model: AutoencoderKL, generator: torch.Generator, n: int = 1024) -> None:
    """Sets shift and scale so that the latents the denoiser sees have mean 0 and standard deviation 1."""
    latents = torch.cat([model.encode(pictures(128, generator)).latent_dist.mode() for _ in range(n // 128)])
    model.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def train(
    work: Path,
    minutes: float,
    freeze_encoder: bool = False,
    batch: int = 16,
    lr: float = 2e-3,
    seed: int = 0,
) -> AutoencoderKL:
    """Trains for `minutes` of computing in all, over however many runs, and writes `work/autoencoder.pt`.

    Args:
        work: Directory for the checkpoint and the loss curve.
        minutes: Time budget; the learning rate falls linearly at its end.
        freeze_encoder: Train the decoder alone: better pictures from the latents that a denoiser already learns.
        batch: Pictures a step.
        lr: Highest learning rate (AdamW).
        seed: Of weights and pictures.

    Returns:
        The trained model, latent scale set.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    model = new_autoencoder()
    model.encoder.requires_grad_(not freeze_encoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=1e-4)
    path, step, spent = work / "autoencoder.pt", 0, 0.0
    if state := checkpoint.load(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"])
        model.register_to_config(**state["scale"])
        step, spent = state["step"], state["spent"]
    test = pictures(128, torch.Generator().manual_seed(10**6))

    def save() -> None:
        with torch.no_grad():
            quality = psnr(model.decode(model.encode(test).latent_dist.mode()).sample, test)
        header = "step,seconds,loss,psnr"
        checkpoint.append_row(work / "autoencoder.csv", header, step, spent, loss.item(), quality)
        print(f"step {step}  {spent:.0f} s  loss {loss.item():.4f}  PSNR {quality:.2f} dB", flush=True)
        scale = {"shift_factor": model.config.shift_factor, "scaling_factor": model.config.scaling_factor}
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scale": scale}
        state |= {"generator": generator.get_state(), "rng": torch.get_rng_state()}
        state |= {"step": step, "spent": spent}
        checkpoint.save(path, state)

    saved = spent
    while spent < minutes * 60:
        start = time.perf_counter()
        left = 1 - spent / (minutes * 60)
        rate = lr * min(1.0, (step + 1) / 50, left / COOLDOWN_SHARE)
        optimizer.param_groups[0]["lr"] = rate
        target = pictures(batch, generator)
        posterior = model.encode(target).latent_dist
        output = model.decode(posterior.sample()).sample
        error = (output - target).abs()
        loss = (edge_weight(target) * (error + 2 * error.square())).mean()
        loss = loss + KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, spent = step + 1, spent + time.perf_counter() - start
        if spent - saved > SAVE_EVERY_S:
            saved = spent
            save()
    if state is None or state["step"] != step:
        if not freeze_encoder:
            set_latent_scale(model, torch.Generator().manual_seed(seed + 2))
        save()
    return model.eval()


def load(work: Path) -> AutoencoderKL:
    """The model in `work/autoencoder.pt`, or one with random weights if nothing was trained yet."""
    model = new_autoencoder()
    if state := checkpoint.load(work / "autoencoder.pt"):
        model.load_state_dict(state["model"])
        model.register_to_config(**state["scale"])
    return model.eval()
