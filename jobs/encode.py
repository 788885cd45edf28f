"""Pictures and metadata as bytes. Byte-deterministic: the same picture and settings give the same file.

Clips are encoded in ``jobs.video``.
"""

import io
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from PIL import Image

from jobs.plan import Sample

FORMATS = ("png", "jpg", "webp")


class MediaFormat(Protocol):
    """How a sample's picture or clip becomes a file: ``ImageFormat`` or ``jobs.video.VideoFormat``."""

    @property
    def name(self) -> str:
        """The member's extension."""

    @property
    def fps(self) -> int | None:
        """Frames a second of clips; None for pictures."""

    def encode(self, media: np.ndarray, /) -> bytes:
        """uint8 array, a picture or a clip's frames -> file contents."""


@dataclass(frozen=True)
class ImageFormat:
    """``name`` is one of ``FORMATS`` and the member's extension; ``quality`` (1-100) is for jpg and webp."""

    name: str
    quality: int
    fps: ClassVar[None] = None

    def encode(self, image: np.ndarray) -> bytes:
        """uint8 RGB array (height, width, 3) -> file contents."""
        picture = Image.fromarray(image)
        sink = io.BytesIO()
        if self.name == "png":
            picture.save(sink, "PNG", compress_level=4)  # files as large as at 6, in two thirds of the time
        elif self.name == "jpg":
            picture.save(sink, "JPEG", quality=self.quality, subsampling=0, optimize=False)
        else:
            picture.save(sink, "WEBP", quality=self.quality, method=4)
        return sink.getvalue()


def sample_json(
    sample: Sample, common: dict[str, Any], shard: int, evaluated_steps: int, fps: int | None = None
) -> bytes:
    """The sample's json: one fixed schema for the whole dataset, no nulls, floats always written as floats.

    Args:
        common: what all samples of the run share (model, revision, sampler, dtype, algo, versions).
        evaluated_steps: denoising steps of this sample on which the network ran.
        fps: of a clip, frames a second.
    """
    clip = {"num_frames": sample.num_frames, "fps": fps, "duration": sample.num_frames / fps} if fps else {}
    fields = {
        "key": sample.key,
        "prompt": sample.prompt,
        "negative_prompt": sample.negative_prompt,
        "id": sample.id,
        "sample_index": sample.index,
        "prompt_index": sample.prompt_index,
        "repeat": sample.repeat,
        "shard": shard,
        "seed": sample.seed,
        "height": sample.height,
        "width": sample.width,
        **clip,  # duration in seconds
        "num_inference_steps": sample.num_inference_steps,
        "evaluated_steps": evaluated_steps,
        "guidance_scale": float(sample.guidance_scale),
        **common,
    }
    if sample.metadata:  # all samples of a dataset have the same columns, or none has any
        fields["metadata"] = sample.metadata
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def sample_members(sample: Sample, media: bytes, extension: str, info: bytes) -> dict[str, bytes]:
    """Members of one sample, in the order they stand in the tar."""
    return {extension: media, "txt": sample.prompt.encode(), "json": info}
