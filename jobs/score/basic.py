"""Measures of pixels alone, by numpy: of clips over their frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.score.phash import clip_hash, picture_hash

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CONSTANT = 1.0  # of 255: a frame whose brightness deviates less from its mean shows nothing

Plane = NDArray[np.float32]


def basic(media: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """Return, of each sample:

    - sharpness: variance of the Laplacian of its brightness (0 to 255), large where there are edges;
    - contrast: standard deviation of its brightness, of 1;
    - entropy: of the histogram of its brightness, in bits, 0 to 8;
    - phash: see ``jobs.score.phash``;
    - of clips constant_frames: the share of frames that show one brightness only; motion: the mean change of a pixel's
      brightness from one frame to the next, of 1; flicker: the mean change of that change of whole frames' brightness,
      of 1, which is 0 of steady fades and large where light goes up and down.

    Of clips the first three are means over frames.

    Args:
        media: uint8 (n, height, width, 3) or (n, frames, height, width, 3).
        rows: not needed.
    """
    found = [_picture(one) if one.ndim == 3 else _clip(one) for one in media]
    return {name: [one[name] for one in found] for name in found[0]}


def luma(picture: np.ndarray) -> Plane:
    """Return the brightness of pixels, 0 to 255: uint8 (..., 3) to float32 (...)."""
    return picture.astype(np.float32) @ _LUMA


def _picture(picture: np.ndarray) -> dict[str, Any]:
    plane = luma(picture)
    return {**_still(plane), "phash": picture_hash(plane)}


def _clip(frames: np.ndarray) -> dict[str, Any]:
    """Measure a clip with two frames in float at a time: a long one has gigabytes of them."""
    stills, means, motion, constant = [], [], [], 0
    before: Plane | None = None
    for frame in frames:
        plane = luma(frame)
        stills.append(_still(plane))
        means.append(float(plane.mean()))
        constant += bool(plane.std() < _CONSTANT)
        if before is not None:
            motion.append(float(np.abs(plane - before).mean()))
        before = plane
    turns = np.abs(np.diff(means, 2))
    return {
        **{name: float(np.mean([one[name] for one in stills])) for name in stills[0]},
        "phash": clip_hash(frames, luma),
        "constant_frames": constant / len(frames),
        "motion": float(np.mean(motion)) / 255 if motion else 0.0,
        "flicker": float(turns.mean()) / 255 if len(turns) else 0.0,
    }


def _still(plane: Plane) -> dict[str, float]:
    middle = plane[1:-1, 1:-1]
    laplacian = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:] - 4 * middle
    counts = np.bincount(np.rint(plane).astype(np.uint8).ravel(), minlength=256)
    shares = counts[counts > 0] / plane.size
    return {
        "sharpness": float(laplacian.var()) if laplacian.size else 0.0,
        "contrast": float(plane.std()) / 255,
        "entropy": max(0.0, float(-(shares * np.log2(shares)).sum())),
    }
