"""What both embedded models draw: shapes and colours, their words, and their outlines.

Outlines are signed distances, anti-aliased over one pixel.
"""

import math

import torch
from torch import Tensor

OBJECT_COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 40, 44),
    "orange": (248, 140, 24),
    "yellow": (250, 216, 48),
    "green": (34, 158, 74),
    "blue": (40, 96, 236),
    "purple": (140, 60, 190),
    "pink": (246, 134, 186),
    "white": (250, 250, 250),
}
BACKGROUND_COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (12, 12, 14),
    "gray": (128, 130, 134),
    "navy": (18, 26, 84),
    "beige": (226, 206, 168),
}
COLOURS, BACKGROUNDS = list(OBJECT_COLOURS), list(BACKGROUND_COLOURS)
SHAPES = ["circle", "square", "triangle", "star", "diamond", "cross"]


def clashes(background: Tensor, colour: Tensor) -> Tensor:
    """Tell where an object would have its background's colour: bool, of the shape of both int64 tensors."""
    same = torch.tensor([[ground == name for name in COLOURS] for ground in BACKGROUNDS])
    return same[background, colour]


def noun(colour: int, shape: int) -> str:
    """Return the words of an object, such as "a red circle", from its places in ``COLOURS`` and ```SHAPES```."""
    article = "an" if COLOURS[colour][0] in "aeiou" else "a"
    return f"{article} {COLOURS[colour]} {SHAPES[shape]}"


def distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Return the signed distance to a shape's outline in units of its radius, negative inside.

    Args:
        shape: One of ``SHAPES``.
        x, y: Coordinates relative to the centre in units of the radius; y points down.

    Returns:
        Tensor of the shape of ``x``.
    """
    if shape == "circle":
        return (x * x + y * y).sqrt() - 0.95
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.82
    if shape == "diamond":
        return (x.abs() + y.abs() - 1.12) / math.sqrt(2)
    if shape == "triangle":  # three half planes, moved down so that the bounding box is centred
        y = y - 0.25
        return torch.maximum(y - 0.6, (x.abs() * math.sqrt(3) - y) / 2 - 0.6)
    if shape == "cross":
        arm = [torch.maximum(a.abs() - 1.0, b.abs() - 0.33) for a, b in ((x, y), (y, x))]
        return torch.minimum(*arm)
    if shape == "star":  # mirrored into one of ten equal wedges, the outline is one straight line
        x, y = x.abs(), 0.06 - y
        for sign in (1, -1):
            normal_x, normal_y = sign * math.cos(math.pi / 5), -math.sin(math.pi / 5)
            beyond = 2 * (normal_x * x + normal_y * y).clamp(min=0)
            x, y = x - beyond * normal_x, y - beyond * normal_y
        tip, inner_x, inner_y = 1.2, 0.55 * math.sin(math.pi / 5), 0.55 * math.cos(math.pi / 5)
        length = math.hypot(inner_x, tip - inner_y)
        return ((tip - inner_y) * x.abs() + inner_x * (y - tip)) / length
    raise ValueError(f"unknown shape {shape!r}")


def coverage(shape: str, centre_x: Tensor, centre_y: Tensor, radius: Tensor, size: int) -> Tensor:
    """Return how much of each pixel a shape covers.

    Args:
        shape: One of ``SHAPES``.
        centre_x, centre_y, radius: Pixels, float tensors of shape (n,).
        size: Width and height of the picture in pixels.

    Returns:
        float tensor of shape (n, size, size) in 0..1.
    """
    axis = torch.arange(size) + 0.5
    r = radius[:, None, None]
    x = (axis[None, None, :] - centre_x[:, None, None]) / r
    y = (axis[None, :, None] - centre_y[:, None, None]) / r
    whole = (len(r), size, size)
    return (0.5 - distance(shape, x.expand(whole), y.expand(whole)) * r).clamp(0, 1)


def palettes() -> tuple[Tensor, Tensor]:
    """Return RGB in -1..1 of object colours (8, 3) and backgrounds (5, 3), float32, in the order of their names."""
    objects, grounds = (torch.tensor(list(c.values())) / 127.5 - 1 for c in (OBJECT_COLOURS, BACKGROUND_COLOURS))
    return objects, grounds
