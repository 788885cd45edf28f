"""The sentences the embedded video model knows, about one moving shape, and which of them training never shows.

A batch of scenes is an int64 tensor of shape (n, 4) with the columns ``background, colour, shape, motion``.
"""

import zlib

import torch
from torch import Tensor

from jobs.model.demo.scenes.shapes import BACKGROUNDS, COLOURS, SHAPES, clashes, noun

# Unit vector (x right, y down) of each motion.
MOTIONS = {
    "moving left": (-1.0, 0.0),
    "moving right": (1.0, 0.0),
    "moving up": (0.0, -1.0),
    "moving down": (0.0, 1.0),
    "standing still": (0.0, 0.0),
}
STILL = len(MOTIONS) - 1


def is_held_out(colour: str, shape: str, motion: str) -> bool:
    """Tell whether training never shows a clip of this colour, shape and motion: 40 of the 240 combinations."""
    return zlib.crc32(f"{colour} {shape} {motion}".encode()) % 8 == 0


def held_out_table() -> Tensor:
    """Return ``is_held_out`` for every combination, bool of shape (colours, shapes, motions)."""
    rows = [[[is_held_out(c, s, m) for m in MOTIONS] for s in SHAPES] for c in COLOURS]
    return torch.tensor(rows)


def sample_scenes(n: int, generator: torch.Generator, held_out: bool = False) -> Tensor:
    """Sample random scenes.

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
    """Return the sentence of one scene, int64 of shape (4,): "a red circle moving left on a white background"."""
    background, colour, shape, motion = scene.tolist()
    return f"{noun(colour, shape)} {list(MOTIONS)[motion]} on a {BACKGROUNDS[background]} background"


def parse(text: str) -> Tensor:
    """Return the scene that a sentence of the grammar describes.

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
    """Return every word of the grammar, sorted, without repeats."""
    found = {"a", "an", "on", "background", *COLOURS, *BACKGROUNDS, *SHAPES}
    for motion in MOTIONS:
        found.update(motion.split())
    return sorted(found)
