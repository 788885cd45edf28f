"""Measures of pictures and clips whose values can be told beforehand, and hashes of pictures that look alike."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from jobs.score.basic import basic, luma
from jobs.score.phash import picture_hash


def flat(value: int, *shape: int) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def scene(seed: int, size: int = 64) -> np.ndarray:
    """A picture with something in it: a few rectangles."""
    random = np.random.default_rng(seed)
    picture = np.full((size, size, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(4):
        top, left = random.integers(0, size - 16, 2)
        picture[top : top + random.integers(8, 32), left : left + random.integers(8, 32)] = random.integers(0, 256, 3)
    return picture


def distance(one: str, two: str) -> int:
    return (int(one, 16) ^ int(two, 16)).bit_count()


def test_a_flat_picture_has_no_edges_no_contrast_and_no_entropy() -> None:
    measured = basic(flat(90, 1, 32, 32), [{}])
    assert (measured["sharpness"], measured["contrast"], measured["entropy"]) == ([0], [0], [0])


def test_half_black_half_white_is_one_bit_and_contrast_of_half() -> None:
    picture = flat(0, 1, 32, 32)
    picture[:, :, 16:] = 255
    measured = basic(picture, [{}])
    assert measured["entropy"] == [pytest.approx(1)] and measured["contrast"] == [pytest.approx(0.5)]


def test_blur_takes_sharpness_away() -> None:
    sharp = scene(1)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    first, second = basic(np.stack([sharp, blurred]), [{}, {}])["sharpness"]
    assert first > 5 * second


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 200), (33, 31), (64, 48)])
def test_pictures_of_any_size_are_measured(size) -> None:
    measured = basic(flat(10, 2, *size), [{}, {}])
    assert all(len(values) == 2 for values in measured.values()) and measured["phash"][0] == measured["phash"][1]


def test_a_still_clip_has_no_motion_and_a_steady_fade_no_flicker() -> None:
    still = np.stack([scene(2)] * 6)
    fade = np.stack([flat(40 * step, 64, 64) for step in range(6)])
    measured = basic(np.stack([still, fade]), [{}, {}])
    assert measured["motion"] == [0, pytest.approx(40 / 255)]
    assert measured["flicker"] == [0, pytest.approx(0, abs=1e-6)]
    assert measured["constant_frames"] == [0, 1]


def test_light_that_goes_up_and_down_flickers() -> None:
    clip = np.stack([flat(100 + 50 * (step % 2), 8, 8) for step in range(6)])
    assert basic(clip[None], [{}])["flicker"] == [pytest.approx(100 / 255)]


def test_a_clip_of_one_frame_has_neither_motion_nor_flicker() -> None:
    measured = basic(scene(3)[None, None], [{}])
    assert (measured["motion"], measured["flicker"]) == ([0], [0])


def test_hashes_of_the_same_picture_coarser_or_as_jpg_are_near_and_those_of_others_far(tmp_path) -> None:
    for seed in range(20):
        picture = scene(seed)
        own = picture_hash(luma(picture))
        Image.fromarray(picture).save(tmp_path / "a.jpg", quality=80)
        for other in (
            np.asarray(Image.open(tmp_path / "a.jpg")),
            np.asarray(Image.fromarray(picture).resize((128, 128), Image.Resampling.BILINEAR)),
            np.clip(picture.astype(int) + 6, 0, 255).astype(np.uint8),
        ):
            assert distance(own, picture_hash(luma(other))) <= 8
        assert distance(own, picture_hash(luma(scene(seed + 100)))) > 12


def test_a_symmetric_picture_has_the_same_hash_whatever_rounding_does() -> None:
    """Its odd frequencies are all nearly 0, and none of them may decide a bit by its last digits."""
    picture = flat(250, 64, 64)
    picture[20:44, 20:44] = 30
    noisy = picture.copy()
    noisy[0, 0] = 251
    assert distance(picture_hash(luma(picture)), picture_hash(luma(noisy))) <= 2
    assert picture_hash(luma(picture)) == picture_hash(luma(picture[::-1, ::-1]))
