"""Draw scenes as clips of 17 frames of 48x48, with the outlines and colours of the image model."""

import torch
from torch import Tensor

from jobs.model.demo.scenes.shapes import SHAPES, coverage, palettes
from jobs.model.demo.scenes.video import MOTIONS

SIZE, FRAMES = 48, 17
RADIUS = (9.5, 12.5)  # pixels, uniform, as all that follows
TRAVEL = (11.0, 15.0)  # distance covered from the first to the last frame, at constant speed
JITTER_ALONG, JITTER_ACROSS = 1.5, 6.0  # of the path's middle around the frame's, either way


def _paths(motion: Tensor, generator: torch.Generator) -> Tensor:
    """Return the centres in pixels, float of shape (n, FRAMES, xy)."""
    n = len(motion)
    direction = torch.tensor(list(MOTIONS.values()))[motion]  # (n, 2)
    travel = TRAVEL[0] + (TRAVEL[1] - TRAVEL[0]) * torch.rand(n, 1, generator=generator)
    along = direction.abs()
    reach = along * JITTER_ALONG + (1 - along) * JITTER_ACROSS
    middle = SIZE / 2 + (torch.rand(n, 2, generator=generator) * 2 - 1) * reach
    time = torch.linspace(-0.5, 0.5, FRAMES)[None, :, None]
    return middle[:, None] + time * (travel * direction)[:, None]


def draw(scenes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a batch of scenes with random places, sizes and speeds.

    Args:
        scenes: int64 tensor of shape (n, 4).
        generator: Source of randomness.

    Returns:
        float32 tensor of shape (n, 3, FRAMES, SIZE, SIZE) in -1..1, RGB.
    """
    colours, grounds = palettes()
    centres = _paths(scenes[:, 3], generator)
    radii = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * torch.rand(len(scenes), generator=generator)
    alpha = torch.empty(len(scenes), FRAMES, SIZE, SIZE)
    for index, shape in enumerate(SHAPES):
        rows = (scenes[:, 2] == index).nonzero()[:, 0]
        x, y = centres[rows].flatten(0, 1).unbind(1)
        cover = coverage(shape, x, y, radii[rows].repeat_interleave(FRAMES), SIZE)
        alpha[rows] = cover.view(-1, FRAMES, SIZE, SIZE)
    ground, colour = (c[:, :, None, None, None] for c in (grounds[scenes[:, 0]], colours[scenes[:, 1]]))
    return ground.lerp(colour, alpha[:, None])
