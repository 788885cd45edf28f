"""Draw scenes as 64x64 pictures."""

import torch
from torch import Tensor

from jobs.model.demo.scenes.image import DIRECTIONS, RELATIONS, SINGLE
from jobs.model.demo.scenes.shapes import SHAPES, coverage, palettes

SIZE = 64
RADIUS_SINGLE, RADIUS_PAIR = (14.0, 19.0), (9.5, 12.0)  # pixels, uniform
SPREAD = 16.0  # distance of each of two objects from the middle, along the relation's axis
JITTER_SINGLE, JITTER_ALONG, JITTER_ACROSS = 5.0, 2.0, 4.0  # pixels either way, uniform


def _placements(relation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Place the objects: centres (n, 2 objects, xy) and radii (n, 2), in pixels."""
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
    """Draw a batch of scenes with random places and sizes.

    Args:
        scenes: int64 tensor of shape (n, 6), see ``scenes``.
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
            alpha = coverage(shape, x, y, radii[rows, slot], SIZE)[:, None]
            colour = palette[scenes[rows, colour_column]][:, :, None, None]
            pictures[rows] = pictures[rows] * (1 - alpha) + colour * alpha
    return pictures
