"""Read background, colours, shapes and places back from a picture, by segmentation and template matching.

It shares only the palette and the outlines with the model: no network is involved, so it can judge one.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from jobs.model.demo.scenes.image import DIRECTIONS, RELATIONS, SINGLE
from jobs.model.demo.scenes.shapes import BACKGROUND_COLOURS, BACKGROUNDS, COLOURS, OBJECT_COLOURS, SHAPES, coverage

CANVAS = 64  # pixels of a side, to measure outlines on
FOREGROUND = 40.0  # RGB distance from the background that makes a pixel an object's; the palette keeps 77 or more
MIN_AREA = 24  # pixels; smaller specks are not objects (the smallest drawn shape covers about 80)
MIN_OVERLAP = 0.8  # intersection over union below which a blob has no shape; drawn shapes reach 0.95 and more
ASPECTS = ["background", "count", "colours", "shapes", "relation"]


@dataclass
class Found:
    """One object in a picture."""

    colour: str
    shape: str  # "" if no template fits
    x: float  # centre in pixels, right and down
    y: float
    overlap: float  # with the best template, 0..1


@dataclass
class Reading:
    """What a picture shows."""

    background: str
    objects: list[Found]


def _palette(colours: dict[str, tuple[int, int, int]]) -> Tensor:
    return torch.tensor(list(colours.values()), dtype=torch.float32)


def _components(mask: Tensor) -> list[Tensor]:
    """Return the 4-connected parts of a bool mask (size, size) with at least MIN_AREA pixels, largest first."""
    labels = (torch.arange(1, mask.numel() + 1).view(mask.shape) * mask).float()[None, None]
    while True:  # every pixel takes the highest label among its neighbours until none changes
        rows = F.max_pool2d(labels, (3, 1), 1, (1, 0))
        spread = torch.maximum(rows, F.max_pool2d(labels, (1, 3), 1, (0, 1))) * mask
        if torch.equal(spread, labels):
            break
        labels = spread
    counts = labels.long().flatten().bincount()
    values = counts[1:].nonzero()[:, 0] + 1
    sizes = counts[values]
    order = sizes.argsort(descending=True)
    return [labels[0, 0] == values[i] for i in order if sizes[i] >= MIN_AREA]


@cache
def _moments(shape: str) -> tuple[float, float]:
    """Return the area in units of radius squared, and how far (in radii) the centre of mass lies below the centre."""
    radius, centre = 24.0, torch.tensor([CANVAS / 2])
    cover = coverage(shape, centre, centre, torch.tensor([radius]), CANVAS)[0]
    middle = (cover.sum(1) * (torch.arange(CANVAS) + 0.5)).sum() / cover.sum()
    return float(cover.sum()) / radius**2, float(middle - CANVAS / 2) / radius


def _match(alpha: Tensor) -> tuple[str, float]:
    """Return the shape whose template overlaps a soft mask (size, size) best, and that overlap."""
    size = len(alpha)
    axis = torch.arange(size) + 0.5
    area = alpha.sum()
    x, y = (alpha.sum(0) * axis).sum() / area, (alpha.sum(1) * axis).sum() / area
    # Place and size follow from the mask's moments; the small grid around them absorbs a ragged outline.
    grid = torch.cartesian_prod(*[torch.tensor([-0.7, 0.0, 0.7])] * 2, torch.tensor([0.94, 1.0, 1.06]))
    best = ("", 0.0)
    for shape in SHAPES:
        density, sink = _moments(shape)
        radius = (area / density).sqrt()
        template = coverage(shape, x + grid[:, 0], y - sink * radius + grid[:, 1], radius * grid[:, 2], size)
        overlaps = torch.minimum(template, alpha).sum((1, 2)) / torch.maximum(template, alpha).sum((1, 2))
        best = max(best, (shape, float(overlaps.max())), key=lambda pair: pair[1])
    return best


def read(picture: Tensor) -> Reading:
    """Read one picture.

    Args:
        picture: uint8 tensor of shape (size, size, 3), RGB.

    Returns:
        Its background and objects, largest first.
    """
    pixels = picture.float()
    border = torch.cat([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = border.median(0).values
    background = BACKGROUNDS[int((_palette(BACKGROUND_COLOURS) - ground).square().sum(1).argmin())]
    objects = []
    for part in _components((pixels - ground).square().sum(-1).sqrt() > FOREGROUND):
        colour = pixels[part].median(0).values
        name = COLOURS[int((_palette(OBJECT_COLOURS) - colour).square().sum(1).argmin())]
        # A pixel's place on the line from background to object colour tells how much of it the object covers.
        direction = colour - ground
        alpha = ((pixels - ground) @ direction / direction.square().sum()).clamp(0, 1)
        near = F.max_pool2d(part.float()[None, None], 3, 1, 1)[0, 0]
        shape, overlap = _match(alpha * near)
        y, x = part.nonzero().float().mean(0) + 0.5
        objects.append(Found(name, shape if overlap >= MIN_OVERLAP else "", float(x), float(y), overlap))
    return Reading(background, objects)


def judge(reading: Reading, scene: Tensor) -> dict[str, bool]:
    """Tell which aspects of a scene a picture shows as asked.

    Args:
        reading: From ``read``.
        scene: int64 tensor of shape (6,), see ``scenes``.

    Returns:
        A truth value for each of ``ASPECTS``; a picture is right if all are true.
    """
    ground, colour1, shape1, relation, colour2, shape2 = scene.tolist()
    wanted = [(COLOURS[colour1], SHAPES[shape1])]
    if relation != SINGLE:
        wanted.append((COLOURS[colour2], SHAPES[shape2]))
    by_colour = {found.colour: found for found in reading.objects}
    count = len(reading.objects) == len(wanted)
    colours = count and {colour for colour, _ in wanted} == set(by_colour)
    shapes = colours and all(by_colour[colour].shape == shape for colour, shape in wanted)
    placed = colours
    if colours and relation != SINGLE:  # a scene's two objects differ in colour, which tells them apart
        first, second = by_colour[wanted[0][0]], by_colour[wanted[1][0]]
        dx, dy = first.x - second.x, first.y - second.y
        seen = (math.copysign(1, dx), 0.0) if abs(dx) > abs(dy) else (0.0, math.copysign(1, dy))
        placed = seen == DIRECTIONS[RELATIONS[relation]]
    values = (reading.background == BACKGROUNDS[ground], count, colours, shapes, placed)
    return dict(zip(ASPECTS, values, strict=True))
