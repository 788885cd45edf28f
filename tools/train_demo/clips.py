"""The world the embedded video model knows: sentences about one moving shape, and the clips they describe.

A batch of scenes is an int64 tensor of shape (n, 4) with the columns `background, colour, shape, motion`.
Clips are drawn with the outlines and colours of the image model.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from .draw import coverage, palettes
from .shapes import BACKGROUNDS, COLOURS, SHAPES, clashes, noun

SIZE, FRAMES, FPS = 48, 17, 8
# Unit vector (x right, y down) of each motion.
MOTIONS = {
    "moving left": (-1.0, 0.0),
    "moving right": (1.0, 0.0),
    "moving up": (0.0, -1.0),
    "moving down": (0.0, 1.0),
    "standing still": (0.0, 0.0),
}
STILL = len(MOTIONS) - 1
RADIUS = (9.5, 12.5)  # pixels, uniform, as all that follows
TRAVEL = (11.0, 15.0)  # distance covered from the first to the last frame, at constant speed
JITTER_ALONG, JITTER_ACROSS = 1.5, 6.0  # of the path's middle around the frame's, either way


def is_held_out(colour: str, shape: str, motion: str) -> bool:
    """Whether training never shows a clip of this colour, shape and motion: 40 of the 240 combinations."""
    return zlib.crc32(f"{colour} {shape} {motion}".encode()) % 8 == 0


def held_out_table() -> Tensor:
    """`is_held_out` for every combination, bool of shape (colours, shapes, motions)."""
    rows = [[[is_held_out(c, s, m) for m in MOTIONS] for s in SHAPES] for c in COLOURS]
    return torch.tensor(rows)


def sample_scenes(n: int, generator: torch.Generator, held_out: bool = False) -> Tensor:
    """Draws random scenes.

    Args:
        n: How many.
        generator: Source of randomness.
        held_out: Only combinations that training never shows, or only those it may show.

    Returns:
        int64 tensor of shape (n, 4), see the module's docstring.
    """
    columns = [torch.arange(len(names)) for names in (BACKGROUNDS, COLOURS, SHAPES, MOTIONS)]
    scenes = torch.cartesian_prod(*columns)
    background, colour, shape, motion = scenes.unbind(1)
    possible = scenes[(held_out_table()[colour, shape, motion] == held_out) & ~clashes(background, colour)]
    return possible[torch.randint(len(possible), (n,), generator=generator)]


def caption(scene: Tensor) -> str:
    """The sentence of one scene, int64 of shape (4,): "a red circle moving left on a white background"."""
    background, colour, shape, motion = scene.tolist()
    return f"{noun(colour, shape)} {list(MOTIONS)[motion]} on a {BACKGROUNDS[background]} background"


def parse(text: str) -> Tensor:
    """The scene that a sentence of the grammar describes.

    Args:
        text: A caption.

    Returns:
        int64 tensor of shape (4,).

    Raises:
        ValueError: The sentence is not one of the grammar's.
    """
    try:
        subject, ground = text.lower().replace("an ", "a ").removesuffix(" background").split(" on a ")
        _, colour, shape, motion = subject.split(" ", 3)
        scene = [BACKGROUNDS.index(ground), COLOURS.index(colour), SHAPES.index(shape), list(MOTIONS).index(motion)]
    except ValueError:
        raise ValueError(f"not a sentence of the demo video grammar: {text!r}") from None
    return torch.tensor(scene)


def words() -> list[str]:
    """Every word of the grammar, sorted, without repeats."""
    found = {"a", "an", "on", "background", *COLOURS, *BACKGROUNDS, *SHAPES}
    for motion in MOTIONS:
        found.update(motion.split())
    return sorted(found)


def _paths(motion: Tensor, generator: torch.Generator) -> Tensor:
    """Centres in pixels, float of shape (n, FRAMES, xy)."""
    n = len(motion)
    direction = torch.tensor(list(MOTIONS.values()))[motion]  # (n, 2)
    travel = TRAVEL[0] + (TRAVEL[1] - TRAVEL[0]) * torch.rand(n, 1, generator=generator)
    along = direction.abs()
    reach = along * JITTER_ALONG + (1 - along) * JITTER_ACROSS
    middle = SIZE / 2 + (torch.rand(n, 2, generator=generator) * 2 - 1) * reach
    time = torch.linspace(-0.5, 0.5, FRAMES)[None, :, None]
    return middle[:, None] + time * (travel * direction)[:, None]


def draw(scenes: Tensor, generator: torch.Generator) -> Tensor:
    """Draws a batch of scenes with random places, sizes and speeds.

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
