"""How the UNet model learns to predict noise: from noise, and from what the image model takes for it."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools.training import checkpoint, denoisers
from tools.training.denoisers import Pool
from tools.training.image.denoiser import GRID, pack
from tools.training.image.denoiser import Denoiser as Teacher
from tools.training.unet.noise import add_noise, shares, signals
from tools.training.unet.reading import image_pipeline

LESSONS = 8_192  # made once; each is learnt from several times
CHUNK = 128  # of them are made together
TAUGHT = 0.75  # of the rows of a batch are lessons
MOST_WEIGHT = 100.0


@cache
def teacher() -> Teacher:
    """Return the embedded image model's denoiser."""
    source, model = image_pipeline(), Teacher()
    model.transformer, model.t5, model.clip = source.transformer, source.text_encoder_2, source.text_encoder
    return model.eval().requires_grad_(False)


def unpack(tokens: Tensor) -> Tensor:
    """Undo ``pack``: (n, 64, 16) -> (n, 4, 16, 16)."""
    cells = tokens.view(len(tokens), GRID, GRID, 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(len(tokens), 4, 2 * GRID, 2 * GRID)


@torch.no_grad()
def taught_noise(noisy: Tensor, timesteps: Tensor, ids: list[Tensor]) -> Tensor:
    """Return what the image model takes for the noise in noisy latents, float32 (n, 4, 16, 16).

    It knows lines between latents and noise where SDXL has arcs; a point of either is one of the other, but for a
    factor.

    Args:
        noisy: Latents and noise, float32 (n, 4, 16, 16).
        timesteps: int64 (n,).
        ids: Token ids of each tokenizer.
    """
    signal = signals()[timesteps].view(-1, 1, 1, 1)
    on_line, sigma = noisy / (signal + (1 - signal.square()).sqrt()), shares()[timesteps]
    with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        velocity = unpack(teacher()(pack(on_line), sigma, *ids).float())
    return on_line + (1 - sigma.view(-1, 1, 1, 1)) * velocity


def load_lessons(pool: Pool, work: Path, count: int) -> tuple[Pool, Tensor, Tensor]:
    """Make lessons, or read them from ``work/lessons.pt`` if an earlier run did.

    Returns:
        Noisy latents with their token ids, their timesteps, and what the image model takes for the noise, float16.
    """
    state = checkpoint.load(work / "lessons.pt")
    if state is None or len(state["noisy"]) < count:
        generator = Generator().manual_seed(20)
        made = []
        for _ in range(0, count, CHUNK):
            latents, ids = pool.draw(min(CHUNK, count), generator)
            noisy, timesteps, _ = add_noise(latents, generator)
            made.append((noisy.half(), timesteps, taught_noise(noisy, timesteps, ids).half(), *ids))
        noisy, timesteps, noise, *read = (torch.cat(column) for column in zip(*made, strict=True))
        state = {"noisy": noisy, "timesteps": timesteps, "noise": noise, "ids": read}
        checkpoint.save(work / "lessons.pt", state)
    return replace(pool, latents=state["noisy"], ids=state["ids"]), state["timesteps"], state["noise"]


def noise_prediction(pool: Pool, work: Path) -> Callable[[nn.Module, Generator], Tensor]:
    """Return the loss: the squared error of the predicted noise, weighted as flow matching weights it.

    Unweighted, an error at high noise levels hardly counts, and it is there that places are decided.
    """
    lessons, lesson_timesteps, lesson_noise = load_lessons(pool, work, LESSONS)
    taught = round(TAUGHT * denoisers.BATCH)

    def draw_loss(model: nn.Module, generator: Generator) -> Tensor:
        rows = torch.randint(len(lesson_noise), (taught,), generator=generator)
        latents, ids = pool.draw(denoisers.BATCH - taught, generator)
        noisy, timesteps, noise = add_noise(latents, generator)
        noisy = torch.cat([lessons.latents[rows].float(), noisy])
        timesteps = torch.cat([lesson_timesteps[rows], timesteps])
        target = torch.cat([lesson_noise[rows].float(), noise])
        read = [torch.cat([some[rows], fresh]) for some, fresh in zip(lessons.ids, ids, strict=True)]
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            prediction = model(noisy, timesteps, *read).float()
        weight = (1 - shares()[timesteps]).pow(-2).clamp(max=MOST_WEIGHT)
        return (weight * (prediction - target).square().mean(dim=(1, 2, 3))).mean()

    return draw_loss
