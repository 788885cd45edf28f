"""Images as bytes. Byte-deterministic: the same image and settings give the same file."""

import io
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image


class MediaFormat(Protocol):
    """How a sample's image or clip becomes a file: ``ImageFormat`` or ``jobs.media.video.VideoFormat``."""

    @property
    def name(self) -> str:
        """The member's extension."""

    @property
    def fps(self) -> int | None:
        """Frames a second of clips; None for images."""

    def encode(self, media: np.ndarray, /) -> bytes:
        """Return the file contents of an image, uint8 (height, width, 3), or of a clip, (frames, height, width, 3)."""


@dataclass(frozen=True)
class ImageFormat:
    """``name`` is png, jpg or webp, and the member's extension; ``quality`` (1-100) is for jpg and webp."""

    name: str
    quality: int
    fps: ClassVar[None] = None

    def encode(self, image: np.ndarray) -> bytes:
        """Return the file contents of a uint8 RGB array (height, width, 3)."""
        picture = Image.fromarray(image)
        sink = io.BytesIO()
        if self.name == "png":
            picture.save(sink, "PNG", compress_level=4)  # files as large as at 6, in two thirds of the time
        elif self.name == "jpg":
            picture.save(sink, "JPEG", quality=self.quality, subsampling=0, optimize=False)
        else:
            picture.save(sink, "WEBP", quality=self.quality, method=4)
        return sink.getvalue()
