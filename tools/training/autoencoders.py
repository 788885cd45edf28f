"""Train an autoencoder: pixels <-> latents. What pictures and clips share; ``image`` and ``video`` say what differs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tools.training import checkpoint
from tools.training.domain import Domain
from tools.training.loop import Schedule, fit

SCHEDULE = Schedule(warmup_steps=50, cooldown_share=0.3)
FILE = "autoencoder.pt"


@dataclass(frozen=True)
class AutoencoderTask:
    """An autoencoder and how it learns.

    Attributes:
        domain: What it encodes.
        new: Makes the architecture with random weights.
        encoder_parts: Its modules that latents depend on.
        new_optimizers: Over its parameters, with their highest learning rates.
        new_loss: Makes the function that draws a batch from a generator and returns the loss.
        set_latent_scale: (model, latents) -> puts the scale with which these have mean 0 and standard deviation 1 into
            the model's config, from which pipelines take it.
        scale_samples: Sizes of the batches of drawings that the scale is taken from.
        test_samples: How many drawings its PSNR is taken over.
    """

    domain: Domain
    new: Callable[[], Any]
    encoder_parts: Callable[[Any], list[nn.Module]]
    new_optimizers: Callable[[Any], list[torch.optim.Optimizer]]
    new_loss: Callable[[Any], Callable[[Generator], Tensor]]
    set_latent_scale: Callable[[Any, Tensor], None]
    scale_samples: tuple[int, ...]
    test_samples: int

    def samples(self, n: int, generator: Generator) -> Tensor:
        """Return fresh drawings, float32 of shape (n, 3, [frames,] height, width) in -1..1."""
        return self.domain.draw(self.domain.sample_scenes(n, generator), generator)


def train(task: AutoencoderTask, work: Path, minutes: float, freeze_encoder: bool = False) -> None:
    """Train for ``minutes`` of computing in all, over however many runs, and keep ``work/autoencoder.pt``.

    Args:
        task: What is trained.
        work: Directory for the checkpoint and the loss curve.
        minutes: Time budget; the learning rate falls linearly at its end.
        freeze_encoder: Train the decoder alone: better samples from the latents that a denoiser already learns.
    """
    torch.manual_seed(0)
    model = task.new()
    for part in task.encoder_parts(model):
        part.requires_grad_(not freeze_encoder)
    fit(work / FILE, model, task.new_optimizers(model), task.new_loss(model), minutes, SCHEDULE, seed=1)
    test = task.samples(task.test_samples, Generator().manual_seed(10**6))
    with torch.no_grad():
        print(f"PSNR {psnr(model.decode(model.encode(test).latent_dist.mode()).sample, test):.2f} dB")


def load(task: AutoencoderTask, work: Path) -> Any:
    """Return the model in ``work/autoencoder.pt``, or one with random weights if nothing was trained yet."""
    torch.manual_seed(0)
    model = task.new()
    if state := checkpoint.load(work / FILE):
        model.load_state_dict(state["model"])
    generator = Generator().manual_seed(2)
    with torch.no_grad():
        latents = [model.encode(task.samples(n, generator)).latent_dist.mode() for n in task.scale_samples]
    task.set_latent_scale(model, torch.cat(latents))
    return model.eval()


def psnr(a: Tensor, b: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of samples in -1..1, over the whole batch's mean squared error."""
    return float(10 * torch.log10(4 / F.mse_loss(a.clamp(-1, 1), b.clamp(-1, 1))))


def edge_weight(target: Tensor) -> Tensor:
    """Return each pixel's weight: an edge between similar colours counts as much as one between black and white.

    Args:
        target: float tensor of shape (n, 3, height, width) in -1..1.

    Returns:
        float tensor of shape (n, 1, height, width).
    """
    step = (F.max_pool2d(target, 3, 1, 1) + F.max_pool2d(-target, 3, 1, 1)).amax(1, keepdim=True)
    return torch.where(step > 0.02, 1 / (step + 0.15), 0.5)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return mean absolute plus squared error, edges weighted; both float of shape (n, 3, height, width) in -1..1."""
    error = (output - target).abs()
    return (edge_weight(target) * (error + 2 * error.square())).mean()


def kl(posterior: Any) -> Tensor:
    """Return the mean divergence of one latent value from the standard normal distribution, in nats."""
    return (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean() / 2
