"""Trains the AutoencoderKL: 64x64 RGB <-> 4 latent channels at 16x16."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Generator, Tensor
from torch.nn import functional as F

from . import checkpoint
from .draw import SIZE, draw
from .loop import Schedule, fit
from .shapes import sample_scenes

KL_WEIGHT = 3e-4
SCHEDULE = Schedule(warmup_steps=50, cooldown_share=0.3)


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


def pictures(n: int, generator: Generator) -> Tensor:
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


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute and squared error with edges weighted; both float of shape (n, 3, height, width) in -1..1."""
    error = (output - target).abs()
    return (edge_weight(target) * (error + 2 * error.square())).mean()


def kl(posterior: DiagonalGaussianDistribution) -> Tensor:
    """Mean divergence of one latent value from the standard normal distribution, in nats."""
    return (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean() / 2


@torch.no_grad()
def set_latent_scale(model: AutoencoderKL, generator: Generator, n: int = 1024) -> None:
    """Sets shift and scale so that the latents the denoiser sees have mean 0 and standard deviation 1."""
    latents = torch.cat([model.encode(pictures(128, generator)).latent_dist.mode() for _ in range(n // 128)])
    model.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


def train(work: Path, minutes: float, freeze_encoder: bool = False, batch: int = 16, lr: float = 2e-3) -> None:
    """Trains for `minutes` of computing in all, over however many runs, and writes `work/autoencoder.pt`.

    Args:
        work: Directory for the checkpoint and the loss curve.
        minutes: Time budget; the learning rate falls linearly at its end.
        freeze_encoder: Train the decoder alone: better pictures from the latents that a denoiser already learns.
        batch: Pictures a step.
        lr: Highest learning rate (AdamW).
    """
    torch.manual_seed(0)
    model = new_autoencoder()
    model.encoder.requires_grad_(not freeze_encoder)

    def draw_loss(generator: Generator) -> Tensor:
        target = pictures(batch, generator)
        posterior = model.encode(target).latent_dist
        output = model.decode(posterior.sample(generator)).sample
        return reconstruction_loss(output, target) + KL_WEIGHT * kl(posterior)

    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=1e-4)
    fit(work / "autoencoder.pt", model, [optimizer], draw_loss, minutes, SCHEDULE, seed=1)
    test = pictures(128, Generator().manual_seed(10**6))
    with torch.no_grad():
        print(f"PSNR {psnr(model.decode(model.encode(test).latent_dist.mode()).sample, test):.2f} dB")


def load(work: Path) -> AutoencoderKL:
    """The model in `work/autoencoder.pt`, or one with random weights if nothing was trained yet."""
    model = new_autoencoder()
    if state := checkpoint.load(work / "autoencoder.pt"):
        model.load_state_dict(state["model"])
        set_latent_scale(model, Generator().manual_seed(2))
    return model.eval()
