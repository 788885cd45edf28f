"""From what a pipeline returns to pixels: checked, scaled and rounded on its device, then one copy to the host."""

from typing import Any

import numpy as np

WHITE = 255


def gives_tensors(pipeline: Any) -> bool:
    """Return whether a pipeline asked for ``pt`` gives the values that it gives for ``np``, as a tensor.

    So do those that leave their last step to one of the two processors of diffusers, and have an autoencoder before
    it. Some others leave out scaling to 0 and 1.
    """
    from diffusers.image_processor import VaeImageProcessor
    from diffusers.video_processor import VideoProcessor

    processors = [getattr(pipeline, name, None) for name in ("image_processor", "video_processor")]
    known = [type(one) in (VaeImageProcessor, VideoProcessor) for one in processors if one is not None]
    return bool(known) and all(known) and getattr(pipeline, "vae", None) is not None


def to_pixels(output: Any) -> tuple[np.ndarray, list[bool]]:
    """Return the pixels of a batch, and of each sample whether all its values are finite.

    Args:
        output: values from 0 to 1: a tensor of any floating dtype, (batch, [frames,] 3, height, width) on any device,
            or an array, float (batch, [frames,] height, width, 3). Both come to the same pixels.

    Returns:
        uint8 (batch, [frames,] height, width, 3), in memory that the samples share; what is not finite has no meaning
        there.
    """
    if isinstance(output, np.ndarray):
        finite = [bool(np.isfinite(one).all()) for one in output]
        with np.errstate(invalid="ignore"):
            return (output * WHITE).round().astype(np.uint8), finite
    import torch

    whole = torch.isfinite(output).flatten(1).all(1)
    # In float32 as numpy gets it, where halves round to even on both sides.
    scaled = output.movedim(-3, -1).to(torch.float32).mul(WHITE).round_()
    pixels = scaled.to(torch.uint8, memory_format=torch.contiguous_format)
    return _to_host(pixels).numpy(), whole.tolist()


def _to_host(pixels: Any) -> Any:
    """Copy a tensor to main memory, by way of pinned memory from a GPU, and wait for nothing but its own stream."""
    import torch

    if pixels.device.type != "cuda":
        return pixels.cpu()
    host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    host.copy_(pixels, non_blocking=True)
    torch.cuda.current_stream(pixels.device).synchronize()
    return host
