"""Pixels come out the same from a tensor where it is and from an array on the host."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.video_processor import VideoProcessor

from jobs.model.pixels import gives_tensors, to_pixels


def values(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """What an autoencoder may give: from below -1 to above 1, every half between two pixel values among it."""
    torch.manual_seed(0)
    made = torch.randn(shape).flatten()
    halves = (torch.arange(256) + 0.5) / 255 * 2 - 1
    made[: len(halves)] = halves
    return made.reshape(shape).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_tensor_gives_the_pixels_of_the_array(dtype: torch.dtype) -> None:
    images = VaeImageProcessor()
    decoded = values(dtype, 2, 3, 16, 24)
    plain = images.postprocess(decoded, output_type="np")
    pixels, finite = to_pixels(images.postprocess(decoded, output_type="pt"))
    assert pixels.dtype == np.uint8 and pixels.shape == (2, 16, 24, 3) and pixels.flags.c_contiguous
    assert np.array_equal(pixels, (plain * 255).round().astype(np.uint8)) and finite == [True, True]
    assert np.array_equal(to_pixels(plain)[0], pixels)

    clips = VideoProcessor()
    decoded = values(dtype, 2, 3, 5, 16, 24)
    plain = clips.postprocess_video(decoded, output_type="np")
    pixels, finite = to_pixels(clips.postprocess_video(decoded, output_type="pt"))
    assert pixels.shape == (2, 5, 16, 24, 3) and finite == [True, True]
    assert np.array_equal(pixels, (plain * 255).round().astype(np.uint8))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_is_told_from_its_company(value: float) -> None:
    output = torch.rand(3, 3, 4, 4)
    output[1, 2, 3, 3] = value
    assert to_pixels(output)[1] == to_pixels(output.movedim(1, -1).numpy())[1] == [True, False, True]


def test_only_the_processors_of_diffusers_are_trusted_with_tensors() -> None:
    class Own(VaeImageProcessor):
        pass

    assert gives_tensors(SimpleNamespace(vae=object(), image_processor=VaeImageProcessor()))
    assert gives_tensors(SimpleNamespace(vae=object(), video_processor=VideoProcessor()))
    assert not gives_tensors(SimpleNamespace(vae=object(), image_processor=Own()))
    assert not gives_tensors(SimpleNamespace(vae=None, image_processor=VaeImageProcessor()))
    assert not gives_tensors(SimpleNamespace(movq=object()))
