"""How near pictures and clips are to others: PSNR and SSIM."""

import numpy as np
from numpy.typing import NDArray

MOST = 99.0  # dB, where nothing differs: JSON has no infinity
_WINDOW, _K1, _K2 = 7, 0.01, 0.03  # of SSIM, as scikit-image has them


def psnr(made: np.ndarray, reference: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB, at most 99: uint8 of any one shape, twice."""
    error = float(((made.astype(np.float64) - reference) ** 2).mean())
    return min(MOST, float(10 * np.log10(255**2 / error))) if error else MOST


def ssim(made: np.ndarray, reference: np.ndarray) -> float:
    """Return the structural similarity, at most 1; of clips the mean over frames.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, with uniform windows
    of 7x7 pixels (of smaller pictures: as large as they are), each colour on its own.

    Args:
        made: uint8 ([frames,] height, width, 3).
        reference: likewise.
    """
    shape = (-1, *made.shape[-3:])
    pairs = zip(made.reshape(shape), reference.reshape(shape), strict=True)
    return float(np.mean([_of_pictures(one.astype(np.float64), two.astype(np.float64)) for one, two in pairs]))


def _of_pictures(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    size = min(_WINDOW, *one.shape[:2])
    pixels = size**2
    sample = pixels / max(pixels - 1, 1)  # unbiased variances

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        for axis in (0, 1):
            sums = np.cumsum(np.insert(values, 0, 0, axis=axis), axis=axis)
            values = np.take(sums, range(size, sums.shape[axis]), axis)
            values = values - np.take(sums, range(sums.shape[axis] - size), axis)
        means: NDArray[np.float64] = values / pixels
        return means

    first, second = mean(one), mean(two)
    variances = sample * (mean(one * one) - first**2) + sample * (mean(two * two) - second**2)
    covariance = sample * (mean(one * two) - first * second)
    c1, c2 = (_K1 * 255) ** 2, (_K2 * 255) ** 2
    similarity = (2 * first * second + c1) * (2 * covariance + c2)
    return float((similarity / ((first**2 + second**2 + c1) * (variances + c2))).mean())
