"""The image model's AutoencoderKL: 64x64 RGB <-> 4 latent channels at 16x16."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from torch import Generator, Tensor

from tools.training.autoencoders import AutoencoderTask, kl, reconstruction_loss
from tools.training.domain import IMAGE
from tools.training.image.draw import SIZE

BATCH = 16
LEARNING_RATE = 2e-3  # AdamW's highest
KL_WEIGHT = 3e-4


def new_autoencoder() -> AutoencoderKL:
    """Return the architecture with random weights."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64),  # three of them: FluxPipeline derives its downsampling of 4 from that
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


def new_loss(model: AutoencoderKL) -> Callable[[Generator], Tensor]:
    """Return the function that draws a batch and returns the loss of its reconstruction."""

    def draw_loss(generator: Generator) -> Tensor:
        target = TASK.samples(BATCH, generator)
        posterior = model.encode(target).latent_dist
        output = model.decode(posterior.sample(generator)).sample
        return reconstruction_loss(output, target) + KL_WEIGHT * kl(posterior)

    return draw_loss


def new_optimizers(model: AutoencoderKL) -> list[torch.optim.Optimizer]:
    """Return AdamW over all parameters."""
    return [torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=1e-4)]


def set_latent_scale(model: AutoencoderKL, latents: Tensor) -> None:
    """Set shift and scale of all latents."""
    model.register_to_config(shift_factor=latents.mean().item(), scaling_factor=1 / latents.std().item())


TASK = AutoencoderTask(
    IMAGE,
    new_autoencoder,
    lambda model: [model.encoder],
    new_optimizers,
    new_loss,
    set_latent_scale,
    scale_samples=(128,) * 8,
    test_samples=128,
)
