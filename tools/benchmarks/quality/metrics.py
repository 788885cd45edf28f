"""How far samples are from their references. Higher PSNR and SSIM, and lower latent distance, are nearer."""

import math
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

CEILING = 99.0  # dB, where nothing differs
WINDOW = 7  # pixels along each side of what structural similarity compares


def psnr(made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each sample in dB, at most 99: uint8 (n, ..., 3) twice -> (n,)."""
    squares = (made.astype(np.float64) - reference) ** 2
    mean = squares.reshape(len(made), -1).mean(axis=1)
    return np.minimum(10 * np.log10(255**2 / np.maximum(mean, 1e-12)), CEILING)


def ssim(made: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each sample (clips: mean over frames): uint8 (n, ..., 3) twice -> (n,)."""
    pictures = made.reshape(-1, *made.shape[-3:]), reference.reshape(-1, *made.shape[-3:])
    each = [_similarity(one, two) for one, two in zip(*pictures, strict=True)]
    return np.array(each).reshape(len(made), -1).mean(axis=1)


def _similarity(made: np.ndarray, reference: np.ndarray) -> float:
    """Compare two pictures, uint8 (height, width, 3): equation 13 of Wang et al. 2004, in even windows."""
    one, two = (sliding_window_view(each.astype(np.float64), (WINDOW, WINDOW), (0, 1)) for each in (made, reference))

    def mean(values: np.ndarray) -> np.ndarray:
        return values.mean((-2, -1))

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variances = unbiased * (mean(one * one) - mean(one) ** 2 + mean(two * two) - mean(two) ** 2)
    covariance = unbiased * (mean(one * two) - mean(one) * mean(two))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean(one) * mean(two) + c1) / (mean(one) ** 2 + mean(two) ** 2 + c1)
    return float((luminance * (2 * covariance + c2) / (variances + c2)).mean())


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
