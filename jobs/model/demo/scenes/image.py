"""The sentences the embedded image model knows, and which of them training never shows.

A batch of scenes is an int64 tensor of shape (n, 6) with the columns
``background, colour1, shape1, relation, colour2, shape2``; with one object, the relation is ``SINGLE``
and zeros follow.
"""

import zlib

import torch
from torch import Tensor

from jobs.model.demo.scenes.shapes import BACKGROUNDS, COLOURS, SHAPES, clashes, noun

RELATIONS = ["above", "below", "left of", "right of"]
# Unit vector (x right, y down) from the middle to the first object, per relation.
DIRECTIONS = {"above": (0.0, -1.0), "below": (0.0, 1.0), "left of": (-1.0, 0.0), "right of": (1.0, 0.0)}
SINGLE = len(RELATIONS)  # the "relation" of a scene with one object
SINGLE_SHARE = 0.25  # of the training scenes


def is_held_out(colour: str, shape: str, relation: str) -> bool:
    """Tell whether training never shows a two-object sentence that begins ``a COLOUR SHAPE RELATION …``.

    19 of the 192 combinations. Their words all occur in other combinations, and the same picture may occur
    told from its other object, so a right picture shows that the words were understood one by one.
    """
    return zlib.crc32(f"{colour} {shape} {relation}".encode()) % 8 == 0


def held_out_table() -> Tensor:
    """Return ``is_held_out`` for every combination.

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
    """Sample random scenes.

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
    """Return the sentence of one scene.

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


def parse(text: str) -> Tensor:
    """Return the scene that a sentence of the grammar describes.

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
    """Return every word of the grammar, sorted, without repeats."""
    found = {"a", "an", "on", "background", *COLOURS, *BACKGROUNDS, *SHAPES}
    for relation in RELATIONS:
        found.update(relation.split())
    return sorted(found)
