"""Pictures and clips of one colour are known from those that show something."""

import numpy as np
import pytest

from jobs.media.flat import is_flat

IMAGE, CLIP = (16, 24, 3), (5, 16, 24, 3)


@pytest.mark.parametrize("shape", [IMAGE, CLIP, (1, 1, 3)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 20, 30)])
def test_one_colour_everywhere_is_flat(shape: tuple[int, ...], colour: tuple[int, int, int]):
    assert is_flat(np.full(shape, colour, np.uint8))


@pytest.mark.parametrize(
    "place",
    [(0, 0, 0), (0, 1, 2), (15, 23, 2), (0, 0, 0, 0), (0, 0, 1, 1), (4, 0, 0, 1), (4, 15, 23, 2)],
)
def test_one_value_that_differs_is_enough(place: tuple[int, ...]):
    media = np.full(IMAGE if len(place) == 3 else CLIP, 7, np.uint8)
    media[place] = 8
    assert not is_flat(media)


def test_frames_of_different_colours_are_a_clip_that_shows_something():
    media = np.zeros(CLIP, np.uint8)
    media[2] = 1
    assert not is_flat(media)
