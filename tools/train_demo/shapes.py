"""The world the embedded model knows: its words, its sentences, and which of them training never shows.

A batch of scenes is an int64 tensor of shape (n, 6) with the columns
`background, colour1, shape1, relation, colour2, shape2`; with one object, the relation is `SINGLE`
and zeros follow.
"""

from __future__ import annotations

import zlib

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
RELATIONS = ["above", "below", "left of", "right of"]
SINGLE = len(RELATIONS)  # the "relation" of a scene with one object
SINGLE_SHARE = 0.25  # of the training scenes
MAX_TOKENS = 16  # the longest caption has 12 words, and the encoders add up to two marks


def clashes(background: Tensor, colour: Tensor) -> Tensor:
    """Where an object would have its background's colour: bool, of the shape of both int64 tensors."""
    same = torch.tensor([[ground == name for name in COLOURS] for ground in BACKGROUNDS])
    return same[background, colour]


def is_held_out(colour: str, shape: str, relation: str) -> bool:
    """Whether training never shows a two-object sentence that begins `a COLOUR SHAPE RELATION …`.

    19 of the 192 combinations. Their words all occur in other combinations, and the same picture may occur
    told from its other object, so a right picture shows that the words were understood one by one.
    """
    return zlib.crc32(f"{colour} {shape} {relation}".encode()) % 8 == 0


def held_out_table() -> Tensor:
    """`is_held_out` for every combination.

    Returns:
        bool tensor of shape (colours, shapes, relations + 1); scenes with one object are never held out.
    """
    table = torch.zeros(len(COLOURS), len(SHAPES), len(RELATIONS) + 1, dtype=torch.bool)
    for c, colour in enumerate(COLOURS):
        for s, shape in enumerate(SHAPES):
            for r, relation in enumerate(RELATIONS):
                table[c, s, r] = is_held_out(colour, shape, relation)
    return table


def sample_scenes(n: int, generator: torch.Generator, held_out: bool = False, singles: bool = True) -> Tensor:
    """Draws random scenes.

    Args:
        n: How many.
        generator: Source of randomness.
        held_out: Only combinations that training never shows (always two objects), or only those it may show.
        singles: Whether scenes with one object may occur among the latter.

    Returns:
        int64 tensor of shape (n, 6), see the module's docstring.
    """

    def uniform(high: int, count: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator)

    table, kept = held_out_table(), torch.empty(0, 6, dtype=torch.long)
    while len(kept) < n:
        m = 2 * n + 64
        background, relation = uniform(len(BACKGROUNDS), m), uniform(len(RELATIONS), m)
        colour1, colour2 = uniform(len(COLOURS), m), uniform(len(COLOURS), m)
        shape1, shape2 = uniform(len(SHAPES), m), uniform(len(SHAPES), m)
        if singles and not held_out:
            single = torch.rand(m, generator=generator) < SINGLE_SHARE
            relation[single] = SINGLE
        single = relation == SINGLE
        ok = (table[colour1, shape1, relation] == held_out) & (single | (colour1 != colour2))
        ok &= ~clashes(background, colour1) & (single | ~clashes(background, colour2))
        colour2[single], shape2[single] = 0, 0
        kept = torch.cat([kept, torch.stack([background, colour1, shape1, relation, colour2, shape2], 1)[ok]])
    return kept[:n]


def caption(scene: Tensor) -> str:
    """The sentence of one scene.

    Args:
        scene: int64 tensor of shape (6,).

    Returns:
        For example "a red circle left of a blue square on a white background".
    """
    background, colour1, shape1, relation, colour2, shape2 = scene.tolist()
    text = noun(colour1, shape1)
    if relation != SINGLE:
        text += f" {RELATIONS[relation]} {noun(colour2, shape2)}"
    return f"{text} on a {BACKGROUNDS[background]} background"


def noun(colour: int, shape: int) -> str:
    """For example "a red circle", from its places in `COLOURS` and `SHAPES`."""
    article = "an" if COLOURS[colour][0] in "aeiou" else "a"
    return f"{article} {COLOURS[colour]} {SHAPES[shape]}"


def parse(text: str) -> Tensor:
    """The scene that a sentence of the grammar describes.

    Args:
        text: A caption.

    Returns:
        int64 tensor of shape (6,).

    Raises:
        ValueError: The sentence is not one of the grammar's.
    """
    try:
        objects, ground = text.lower().replace("an ", "a ").removesuffix(" background").split(" on a ")
        scene = [BACKGROUNDS.index(ground), 0, 0, SINGLE, 0, 0]
        for index, relation in enumerate(RELATIONS):
            if f" {relation} a " in objects:
                objects, second = objects.split(f" {relation} a ")
                colour, shape = second.split()
                scene[3:] = [index, COLOURS.index(colour), SHAPES.index(shape)]
        colour, shape = objects.removeprefix("a ").split()
        scene[1:3] = [COLOURS.index(colour), SHAPES.index(shape)]
    except ValueError:
        raise ValueError(f"not a sentence of the demo grammar: {text!r}") from None
    return torch.tensor(scene)


def words() -> list[str]:
    """Every word of the grammar, sorted, without repeats."""
    found = {"a", "an", "on", "background", *COLOURS, *BACKGROUNDS, *SHAPES}
    for relation in RELATIONS:
        found.update(relation.split())
    return sorted(found)
