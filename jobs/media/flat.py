"""Pictures and clips that show nothing."""

import numpy as np


def is_flat(media: np.ndarray) -> bool:
    """Return whether all pixels of an image, or of all frames of a clip, have one colour.

    Args:
        media: uint8 (height, width, 3) or (frames, height, width, 3). What is not flat is usually known from its
            first row.
    """
    rows = media.reshape(-1, media.shape[-2] * media.shape[-1])
    first = np.tile(media.reshape(-1, media.shape[-1])[0], media.shape[-2])
    return all(np.array_equal(row, first) for row in rows)
