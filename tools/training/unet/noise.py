"""The noise levels of SDXL, and where the same levels lie on the line between latents and noise."""

from functools import cache

from diffusers import DDIMScheduler
from torch import Generator, Tensor, randn, searchsorted

from tools.training.denoisers import noise_levels


def new_scheduler() -> DDIMScheduler:
    """Return SDXL's noise levels with DDIM, begun at the last of them."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        timestep_spacing="trailing",
        prediction_type="epsilon",
    )


@cache
def signals() -> Tensor:
    """Return the factor of the latents at each of 1000 timesteps, float32; that of the noise makes squares add to 1."""
    return new_scheduler().alphas_cumprod.sqrt()


@cache
def shares() -> Tensor:
    """Return the share of noise at each of 1000 timesteps on the line between latents and noise, float32 rising."""
    noise = (1 - signals().square()).sqrt()
    return noise / (noise + signals())


def add_noise(latents: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Add noise of random levels, distributed as in flow matching.

    Returns:
        Noisy latents, their timesteps (n,), int64, and the noise.
    """
    noise = randn(latents.shape, generator=generator)
    timesteps = searchsorted(shares(), noise_levels(len(latents), generator)).clamp(max=len(shares()) - 1)
    signal = signals()[timesteps].view(-1, 1, 1, 1)
    return signal * latents + (1 - signal.square()).sqrt() * noise, timesteps, noise
