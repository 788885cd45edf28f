"""Draws scenes as 64x64 pictures: signed distances to each outline, anti-aliased over one pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .shapes import BACKGROUND_COLOURS, OBJECT_COLOURS, RELATIONS, SHAPES, SINGLE

SIZE = 64
RADIUS_SINGLE, RADIUS_PAIR = (14.0, 19.0), (9.5, 12.0)  # pixels, uniform
SPREAD = 16.0  # distance of each of two objects from the middle, along the relation's axis
JITTER_SINGLE, JITTER_ALONG, JITTER_ACROSS = 5.0, 2.0, 4.0  # pixels either way, uniform
# Unit vector (x right, y down) from the middle to the first object, per relation.
DIRECTIONS = {"above": (0.0, -1.0), "below": (0.0, 1.0), "left of": (-1.0, 0.0), "right of": (1.0, 0.0)}


def distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to a shape's outline in units of its radius, negative inside.

    Args:
        shape: One of `SHAPES`.
        x, y: Coordinates relative to the centre in units of the radius; y points down.

    Returns:
        Tensor of the shape of `x`.
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


def coverage(shape: str, centre_x: Tensor, centre_y: Tensor, radius: Tensor, size: int = SIZE) -> Tensor:
    """How much of each pixel a shape covers.

    Args:
        shape: One of `SHAPES`.
        centre_x, centre_y, radius: Pixels, float tensors of shape (n,).
        size: Width and height of the picture in pixels.

    Returns:
        float tensor of shape (n, size, size) in 0..1.
    """
    axis = torch.arange(size) + 0.5
    r = radius[:, None, None]
    x = (axis[None, None, :] - centre_x[:, None, None]) / r
    y = (axis[None, :, None] - centre_y[:, None, None]) / r
    x, y = torch.broadcast_tensors(x, y)
    return (0.5 - distance(shape, x, y) * r).clamp(0, 1)


def palettes() -> tuple[Tensor, Tensor]:
    """RGB in -1..1 of object colours (8, 3) and backgrounds (5, 3), float32, in the order of `shapes`."""
    objects, grounds = (torch.tensor(list(c.values())) / 127.5 - 1 for c in (OBJECT_COLOURS, BACKGROUND_COLOURS))
    return objects, grounds


def _placements(relation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centres (n, 2 objects, xy) and radii (n, 2), in pixels."""
    n = len(relation)

    def jitter(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator) * 2 - 1

    directions = torch.tensor([*(DIRECTIONS[r] for r in RELATIONS), (0.0, 0.0)])[relation]  # (n, 2)
    sides = torch.tensor([1.0, -1.0])[None, :, None] * directions[:, None, :] * SPREAD
    along, across = directions.abs()[:, None, :], 1 - directions.abs()[:, None, :]
    single = (relation == SINGLE)[:, None]
    reach = torch.where(single[..., None], JITTER_SINGLE, along * JITTER_ALONG + across * JITTER_ACROSS)
    centres = SIZE / 2 + sides + jitter(n, 2, 2) * reach
    low, high = (torch.where(single, a, b) for a, b in zip(RADIUS_SINGLE, RADIUS_PAIR, strict=True))
    return centres, low + (high - low) * torch.rand(n, 2, generator=generator)


def draw(scenes: Tensor, generator: torch.Generator) -> Tensor:
    """Draws a batch of scenes with random places and sizes.

    Args:
        scenes: int64 tensor of shape (n, 6), see `shapes`.
        generator: Source of places and sizes.

    Returns:
        float32 tensor of shape (n, 3, SIZE, SIZE) in -1..1, RGB.
    """
    palette, grounds = palettes()
    centres, radii = _placements(scenes[:, 3], generator)
    pictures = grounds[scenes[:, 0]][:, :, None, None].expand(-1, -1, SIZE, SIZE).clone()
    for slot, (colour_column, shape_column) in enumerate(((1, 2), (4, 5))):
        for index, shape in enumerate(SHAPES):
            rows = scenes[:, shape_column] == index
            if slot == 1:
                rows &= scenes[:, 3] != SINGLE
            rows = rows.nonzero()[:, 0]
            if len(rows) == 0:
                continue
            x, y = centres[rows, slot].unbind(1)
            alpha = coverage(shape, x, y, radii[rows, slot])[:, None]
            colour = palette[scenes[rows, colour_column]][:, :, None, None]
            pictures[rows] = pictures[rows] * (1 - alpha) + colour * alpha
    return pictures
