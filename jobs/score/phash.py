"""Perceptual hashes: 64 bits, of which few differ between pictures that look alike.

A picture is shrunk to 32x32, and a cosine transform gives its coarsest 8x8 frequencies: a bit is set where a frequency
is above the median of all but the first; the first bit says whether the picture is brighter than half (Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). Of a clip it is 16 bits of each of four
frames, spread evenly.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_SIZE, _KEPT = 32, 8
_STEP = 4.0  # frequencies are told apart by so much: those that a drawing has not, noise must not tell apart
_FRAMES = 4


def picture_hash(plane: NDArray[np.float32]) -> str:
    """Return the hash of brightness (height, width), 0 to 255, as 16 hexadecimal digits."""
    return f"{_number(_bits(plane, _KEPT)):016x}"


def clip_hash(frames: np.ndarray, luma: Callable[[np.ndarray], NDArray[np.float32]]) -> str:
    """Return the hash of a clip (frames, height, width, 3) as 16 hexadecimal digits.

    Args:
        frames: uint8.
        luma: makes brightness of a frame.
    """
    places = np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int)
    return "".join(f"{_number(_bits(luma(frames[place]), _KEPT // 2)):04x}" for place in places)


def _bits(plane: NDArray[np.float32], kept: int) -> NDArray[np.bool_]:
    waves = _cosines()[:kept]
    frequencies = np.round(waves @ _shrunk(plane) @ waves.T / _STEP).ravel()
    bits: NDArray[np.bool_] = frequencies > np.median(frequencies[1:])
    bits[0] = plane.mean() > 127.5
    return bits


def _shrunk(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the means of 32x32 parts of a plane; of one that is smaller, of its pixels repeated."""
    found = plane.astype(np.float64)
    for axis in (0, 1):
        length = found.shape[axis]
        if length < _SIZE:
            found = np.repeat(found, -(-_SIZE // length), axis)
            length = found.shape[axis]
        starts = np.arange(_SIZE) * length // _SIZE
        sums = np.add.reduceat(found, starts, axis)
        counts = np.diff([*starts, length])
        found = sums / (counts[:, None] if axis == 0 else counts)
    return found


def _cosines() -> NDArray[np.float64]:
    """Return the first waves of the orthonormal cosine transform (8, 32)."""
    places = (np.arange(_SIZE) + 0.5) * np.pi / _SIZE
    waves: NDArray[np.float64] = np.cos(np.arange(_KEPT)[:, None] * places) * np.sqrt(2 / _SIZE)
    waves[0] /= np.sqrt(2)
    return waves


def _number(bits: NDArray[np.bool_]) -> int:
    return int("".join("1" if bit else "0" for bit in bits), 2)
