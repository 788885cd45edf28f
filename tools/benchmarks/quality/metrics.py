"""How far samples are from their references. Higher PSNR and SSIM, and lower latent distance, are nearer."""

import math
from typing import Any

import numpy as np
import torch
from skimage.metrics import structural_similarity

CEILING = 99.0  # dB, where nothing differs


def psnr(made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each sample in dB, at most 99: uint8 (n, ..., 3) twice -> (n,)."""
    squares = (made.astype(np.float64) - reference) ** 2
    mean = squares.reshape(len(made), -1).mean(axis=1)
    return np.minimum(10 * np.log10(255**2 / np.maximum(mean, 1e-12)), CEILING)


def ssim(made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each sample (clips: mean over frames): uint8 (n, ..., 3) twice -> (n,)."""
    pictures = made.reshape(-1, *made.shape[-3:]), reference.reshape(-1, *made.shape[-3:])
    each = [structural_similarity(one, two, channel_axis=-1) for one, two in zip(*pictures, strict=True)]
    return np.array(each).reshape(len(made), -1).mean(axis=1)


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
