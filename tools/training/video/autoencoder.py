"""The video model's AutoencoderKLWan: 17 frames of 48x48 RGB <-> 5 latent frames of 6x6, 16 channels."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock, WanResidualBlock, unpatchify
from torch import Generator, Tensor, nn

from tools.training.autoencoders import AutoencoderTask, kl, reconstruction_loss
from tools.training.domain import VIDEO
from tools.training.video.draw import FRAMES

LATENT_CHANNELS, PATCH = 16, 2
KL_WEIGHT = 1e-4
# Clips in a batch and their frames, by turns. Many short clips show more variety than a few long ones; long ones
# are needed because encoder and decoder take one frame and then groups of four, remembering what went before.
BATCHES = ((24, 1), (12, 5), (6, 9), (3, FRAMES))
MUON_LR, ADAM_LR = 3e-3, 2e-3  # the highest


def new_autoencoder() -> AutoencoderKLWan:
    """Return the architecture; it begins as little more than averaging and repeating, every residual branch at zero.

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


def new_loss(model: AutoencoderKLWan) -> Callable[[Generator], Tensor]:
    """Return the function that draws a batch of some frames and returns the loss of its reconstruction."""
    # `decode` clamps its output, which would take the gradient from what is too bright or too dark.
    chunks: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: chunks.append(output))

    def draw_loss(generator: Generator) -> Tensor:
        n, frames = BATCHES[int(torch.randint(len(BATCHES), (), generator=generator))]
        start = int(torch.randint(FRAMES - frames + 1, (), generator=generator))
        target = TASK.samples(n, generator)[:, :, start : start + frames]
        posterior = model.encode(target).latent_dist
        chunks.clear()
        model.decode(posterior.sample(generator))
        output = unpatchify(torch.cat(chunks, 2), PATCH)
        # One picture a frame; what a frame's loss is does not depend on its neighbours.
        frames_of = [x.transpose(1, 2).flatten(0, 1) for x in (output, target)]
        return reconstruction_loss(*frames_of) + KL_WEIGHT * kl(posterior)

    return draw_loss


class ConvMuon(torch.optim.Muon):
    """Muon for convolutions: each weight (out, in, …) is treated as the matrix (out, in * …) that it multiplies by."""

    def __init__(self, weights: list[nn.Parameter], lr: float) -> None:
        self.weights = weights
        # The matrices share their memory with the weights, so a step on one moves the other.
        self.matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in weights]
        super().__init__(self.matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update once from the weights' gradients."""
        for weight, matrix in zip(self.weights, self.matrices, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the weights' gradients."""
        for weight in self.weights:
            weight.grad = None


def new_optimizers(model: AutoencoderKLWan) -> list[torch.optim.Optimizer]:
    """Return Muon for the convolutions between first and last of encoder and decoder, AdamW for all else."""
    inner: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim >= 4 and name.endswith("weight") and "_block" in name
        (inner if hidden else rest).append(parameter)
    return [
        ConvMuon(inner, MUON_LR),
        torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=1e-4),
    ]


def set_latent_scale(model: AutoencoderKLWan, latents: Tensor) -> None:
    """Set mean and standard deviation of each latent channel."""
    channels = latents.transpose(0, 1).flatten(1)
    model.register_to_config(latents_mean=channels.mean(1).tolist(), latents_std=channels.std(1).tolist())


TASK = AutoencoderTask(
    VIDEO,
    new_autoencoder,
    lambda model: [model.encoder, model.quant_conv],
    new_optimizers,
    new_loss,
    set_latent_scale,
    scale_samples=(256,),
    test_samples=64,
)
