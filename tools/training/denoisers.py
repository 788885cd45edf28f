"""Train a denoiser on latents of drawn samples, by flow matching unless its task says otherwise.

What the models share; ``image``, ``video`` and ``unet`` say what differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools.training import autoencoders, checkpoint
from tools.training.autoencoders import AutoencoderTask
from tools.training.loop import Schedule, fit
from tools.training.text import tokenize

BATCH = 64
MUON_LR, ADAM_LR = 2e-3, 1e-3  # the highest
CAPTION_DROPOUT = 0.1  # empty prompts in training make classifier-free guidance work
SCHEDULE = Schedule(warmup_steps=100, cooldown_share=0.2, average_decay=0.995)
FILE = "denoiser.pt"


def noise_levels(n: int, generator: Generator) -> Tensor:
    """Draw shares of noise, float of shape (n,): logit-normal, one from each of n equally likely slices."""
    slices = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return torch.special.ndtri(slices.clamp(1e-4, 1 - 1e-4)).mul(1.1).add(0.6).sigmoid()


@dataclass(frozen=True)
class Pool:
    """What batches are drawn from.

    Attributes:
        latents: float16, n first.
        ids: Token ids of the samples' captions, int64 (n, MAX_TOKENS), one for each tokenizer.
        empty: The same of the empty caption, (1, MAX_TOKENS).
    """

    latents: Tensor
    ids: list[Tensor]
    empty: list[Tensor]

    def draw(self, count: int, generator: Generator) -> tuple[Tensor, list[Tensor]]:
        """Return the latents, float32, and the token ids of random samples; some of their captions are left out."""
        rows = torch.randint(len(self.latents), (count,), generator=generator)
        dropped = (torch.rand(count, generator=generator) < CAPTION_DROPOUT)[:, None]
        read = [torch.where(dropped, nothing, some[rows]) for nothing, some in zip(self.empty, self.ids, strict=True)]
        return self.latents[rows].float(), read


def flow_matching(pool: Pool, work: Path) -> Callable[[Any, Generator], Tensor]:
    """Return the loss that is the mean squared error of the velocity between latents and noise.

    The model is a function of noisy latents, the share of noise (n,), and the token ids of each tokenizer, and predicts
    noise minus latents.
    """

    def draw_loss(model: Any, generator: Generator) -> Tensor:
        latents, read = pool.draw(BATCH, generator)
        noise = torch.randn(latents.shape, generator=generator)
        sigma = noise_levels(len(latents), generator)
        noisy = latents.lerp(noise, sigma.view(-1, *[1] * (latents.ndim - 1)))
        # Of the attention kernels for CPUs, the plain one is the fastest backwards at 80 to 180 tokens.
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            prediction = model(noisy, sigma, *read)
        return F.mse_loss(prediction.float(), noise - latents)

    return draw_loss


@dataclass(frozen=True)
class DenoiserTask:
    """A denoiser and how it learns.

    Attributes:
        autoencoder: Makes its latents.
        new: Makes the model with random weights, the first argument of ``loss``.
        tokenizers: One for each text encoder.
        encode: (autoencoder, drawn samples) -> latents with mean 0 and standard deviation 1, n first.
        new_pipeline: (autoencoder, denoiser) -> the pipeline made of all parts.
        pool_size: Samples that are drawn and encoded once.
        chunk: Samples that are drawn and encoded together.
        load_autoencoder: (autoencoder, work) -> the trained one, with its latents' scale.
        new_loss: (pool, work) -> (model, generator) -> the loss of a batch, a scalar.
    """

    autoencoder: AutoencoderTask
    new: Callable[[], nn.Module]
    tokenizers: Callable[[], list[Any]]
    encode: Callable[[Any, Tensor], Tensor]
    new_pipeline: Callable[[Any, Any], Any]
    pool_size: int
    chunk: int
    load_autoencoder: Callable[[AutoencoderTask, Path], Any] = autoencoders.load
    new_loss: Callable[["Pool", Path], Callable[[Any, Generator], Tensor]] = flow_matching


def train(task: DenoiserTask, work: Path, minutes: float, seed: int = 0) -> None:
    """Train for ``minutes`` of computing in all, over however many runs, and keep ``work/denoiser.pt``.

    Args:
        task: What is trained.
        work: Directory with the trained autoencoder; receives the pool, the checkpoint and the loss curve.
        minutes: Time budget; the learning rate falls linearly to zero over its last fifth.
        seed: Of weights, samples and noise.
    """
    pool = load_pool(task, work, seed)
    loss = task.new_loss(pool, work)
    torch.manual_seed(seed)
    model = task.new()
    optimizers = new_optimizers(model)
    fit(work / FILE, model, optimizers, lambda generator: loss(model, generator), minutes, SCHEDULE, seed=seed + 1)


@torch.no_grad()
def load_pool(task: DenoiserTask, work: Path, seed: int) -> Pool:
    """Draw and encode the pool, or read it from ``work/pool.pt`` if an earlier run did.

    Args:
        task: What is trained.
        work: Directory with the trained autoencoder.
        seed: Of the training.
    """
    domain = task.autoencoder.domain
    state = checkpoint.load(work / "pool.pt")
    if state is None or len(state["latents"]) < task.pool_size:
        generator = Generator().manual_seed(seed + 10)
        model, scenes = task.load_autoencoder(task.autoencoder, work), domain.sample_scenes(task.pool_size, generator)
        encoded = [task.encode(model, domain.draw(rows, generator)).half() for rows in scenes.split(task.chunk)]
        state = {"latents": torch.cat(encoded), "scenes": scenes}
        checkpoint.save(work / "pool.pt", state)
    captions, tokenizers = [domain.caption(scene) for scene in state["scenes"]], task.tokenizers()
    return Pool(state["latents"], *([tokenize(one, texts) for one in tokenizers] for texts in (captions, [""])))


def new_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Return Muon for the blocks' attention and feed-forward matrices, AdamW for all else."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        # Of Flux, Wan and UNets; T5; CLIP; UNets' middle.
        block = any(part in name for part in ("blocks.", ".block.", ".layers.", "mid_block."))
        hidden = parameter.ndim == 2 and block and "norm" not in name and "bias" not in name
        (matrices if hidden else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]
