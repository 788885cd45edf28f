"""Trains the AutoencoderKLWan: 17 frames of 48x48 RGB <-> 5 latent frames of 6x6, 16 channels."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock, WanResidualBlock, unpatchify
from torch import Generator, Tensor, nn

from . import checkpoint
from .autoencoder import SCHEDULE, kl, psnr, reconstruction_loss
from .clips import FRAMES, draw, sample_scenes
from .loop import fit

LATENT_CHANNELS, PATCH = 16, 2
KL_WEIGHT = 1e-4
# Clips in a batch and their frames, by turns. Many short clips show more variety than a few long ones; long ones
# are needed because encoder and decoder take one frame and then groups of four, remembering what went before.
BATCHES = ((24, 1), (12, 5), (6, 9), (3, FRAMES))


def new_autoencoder() -> AutoencoderKLWan:
    """The architecture; begins as little more than averaging and repeating, every residual branch at zero.

    2x2 pixels are packed into channels before the first convolution and two levels follow: 8x8 pixels to a latent.
    """
    model = AutoencoderKLWan(
        base_dim=16,
        decoder_base_dim=16,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        is_residual=True,
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        patch_size=PATCH,
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )
    for module in model.modules():
        if isinstance(module, WanResidualBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, WanAttentionBlock):
            nn.init.zeros_(module.proj.weight)
    return model


def clips(n: int, generator: Generator) -> Tensor:
    """Freshly drawn clips, float32 of shape (n, 3, FRAMES, SIZE, SIZE) in -1..1."""
    return draw(sample_scenes(n, generator), generator)


def encode(model: AutoencoderKLWan, pictures: Tensor) -> Tensor:
    """Latents (n, 16, 5, 6, 6) of clips, each channel with mean 0 and standard deviation 1 over all clips."""
    mean, std = (torch.tensor(c).view(-1, 1, 1, 1) for c in (model.config.latents_mean, model.config.latents_std))
    return (model.encode(pictures).latent_dist.mode() - mean) / std


@torch.no_grad()
def set_latent_scale(model: AutoencoderKLWan, n: int = 256, seed: int = 2) -> None:
    """Sets the mean and standard deviation that the pipeline takes from each latent channel."""
    latents = model.encode(clips(n, Generator().manual_seed(seed))).latent_dist.mode().transpose(0, 1).flatten(1)
    model.register_to_config(latents_mean=latents.mean(1).tolist(), latents_std=latents.std(1).tolist())


@torch.no_grad()
def quality(model: AutoencoderKLWan, n: int = 64) -> float:
    """PSNR in dB over clips that training never draws."""
    test = clips(n, Generator().manual_seed(10**6))
    return psnr(model.decode(model.encode(test).latent_dist.mode()).sample, test)


class ConvMuon(torch.optim.Muon):
    """Muon for convolutions: each weight (out, in, …) is treated as the matrix (out, in * …) that it multiplies by."""

    def __init__(self, weights: list[nn.Parameter], lr: float) -> None:
        self.weights = weights
        # The matrices share their memory with the weights, so a step on one moves the other.
        self.matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in weights]
        super().__init__(self.matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the weights' gradients."""
        for weight, matrix in zip(self.weights, self.matrices, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the weights' gradients."""
        for weight in self.weights:
            weight.grad = None


def new_optimizers(model: AutoencoderKLWan, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions between first and last of encoder and decoder, AdamW for all else."""
    inner: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim >= 4 and name.endswith("weight") and "_block" in name
        (inner if hidden else rest).append(parameter)
    return [
        ConvMuon(inner, muon_lr),
        torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=1e-4),
    ]


def train(
    work: Path, minutes: float, freeze_encoder: bool = False, muon_lr: float = 3e-3, adam_lr: float = 2e-3
) -> None:
    """Trains for `minutes` of computing in all, over however many runs, and writes `work/autoencoder.pt`.

    Args:
        work: Directory for the checkpoint and the loss curve.
        minutes: Time budget; the learning rate falls linearly at its end.
        freeze_encoder: Train the decoder alone: better clips from the latents that a denoiser already learns.
        muon_lr, adam_lr: Highest learning rates.
    """
    torch.manual_seed(0)
    model = new_autoencoder()
    model.encoder.requires_grad_(not freeze_encoder)
    model.quant_conv.requires_grad_(not freeze_encoder)
    # `decode` clamps its output, which would take the gradient from what is too bright or too dark.
    chunks: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: chunks.append(output))

    def draw_loss(generator: Generator) -> Tensor:
        n, frames = BATCHES[int(torch.randint(len(BATCHES), (), generator=generator))]
        start = int(torch.randint(FRAMES - frames + 1, (), generator=generator))
        target = clips(n, generator)[:, :, start : start + frames]
        posterior = model.encode(target).latent_dist
        chunks.clear()
        model.decode(posterior.sample(generator))
        output = unpatchify(torch.cat(chunks, 2), PATCH)
        # One picture a frame; what a frame's loss is does not depend on its neighbours.
        frames_of = [x.transpose(1, 2).flatten(0, 1) for x in (output, target)]
        return reconstruction_loss(*frames_of) + KL_WEIGHT * kl(posterior)

    optimizers = new_optimizers(model, muon_lr, adam_lr)
    fit(work / "autoencoder.pt", model, optimizers, draw_loss, minutes, SCHEDULE, seed=1)
    print(f"PSNR {quality(model):.2f} dB")


def load(work: Path) -> AutoencoderKLWan:
    """The model in `work/autoencoder.pt`, or one with random weights if nothing was trained yet."""
    torch.manual_seed(0)
    model = new_autoencoder()
    if state := checkpoint.load(work / "autoencoder.pt"):
        model.load_state_dict(state["model"])
    set_latent_scale(model)
    return model.eval()
