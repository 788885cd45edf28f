"""PSNR and SSIM against scikit-image, and at their ends."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jobs.media.fidelity import MOST, psnr, ssim


@pytest.mark.parametrize("strength", [1, 20, 200])
@pytest.mark.parametrize("shape", [(32, 48, 3), (7, 9, 3)])
def test_both_are_those_of_scikit_image(shape: tuple[int, ...], strength: int):
    dice = np.random.default_rng(0)
    one = np.cumsum(dice.integers(0, 9, shape), axis=0).clip(0, 255).astype(np.uint8)
    two = (one + dice.integers(-strength, strength + 1, shape)).clip(0, 255).astype(np.uint8)
    assert psnr(two, one) == pytest.approx(peak_signal_noise_ratio(one, two), abs=1e-9)
    assert ssim(two, one) == pytest.approx(structural_similarity(one, two, channel_axis=-1), abs=1e-9)


def test_clips_are_the_mean_over_frames():
    dice = np.random.default_rng(0)
    one, two = dice.integers(0, 256, (2, 3, 16, 16, 3), dtype=np.uint8)
    assert ssim(one, two) == pytest.approx(np.mean([ssim(*frames) for frames in zip(one, two, strict=True)]))


def test_where_nothing_differs():
    flat = np.full((4, 4, 3), 7, np.uint8)
    assert psnr(flat, flat) == MOST and ssim(flat, flat) == 1.0
