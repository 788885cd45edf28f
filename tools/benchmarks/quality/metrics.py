"""How far samples are from their references. Higher PSNR and SSIM, and lower latent distance, are nearer."""

import math
from typing import Any

import numpy as np
import torch

from jobs.media import fidelity


def psnr(made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each sample in dB, at most 99: uint8 (n, ..., 3) twice -> (n,)."""
    return np.array([fidelity.psnr(one, two) for one, two in zip(made, reference, strict=True)])


def ssim(made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each sample (clips: mean over frames): uint8 (n, ..., 3) twice -> (n,)."""
    return np.array([fidelity.ssim(one, two) for one, two in zip(made, reference, strict=True)])


@torch.no_grad()
def latent_distance(vae: Any, made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the distance in the latents of the model's own autoencoder, relative to the reference's: (n,).

    The stand-in for LPIPS, whose networks come in no package.
    """

    def encode(samples: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(samples).float().movedim(-1, 1) / 127.5 - 1  # (n, 3, [frames,] height, width)
        return torch.cat([vae.encode(part).latent_dist.mode() for part in pixels.split(8)]).flatten(1)

    one, two = encode(made), encode(reference)
    return ((one - two).norm(dim=1) / (two - two.mean(dim=1, keepdim=True)).norm(dim=1)).double().numpy()


def interval(values: np.ndarray) -> float:
    """Return half the width of the mean's 95 % interval."""
    return float(1.96 * values.std(ddof=1) / math.sqrt(len(values)))
