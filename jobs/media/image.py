"""Images as bytes. Byte-deterministic: the same image and settings give the same file."""

import io
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jobs.media.mark import XMP, exif_comment

_JPEG_EXIF = 65533  # bytes: what one segment of a jpg holds


class MediaFormat(Protocol):
    """How a sample's image or clip becomes a file: ``ImageFormat`` or ``jobs.media.video.VideoFormat``."""

    @property
    def name(self) -> str:
        """The member's extension."""

    @property
    def fps(self) -> int | None:
        """Frames a second of clips; None for images."""

    @property
    def mark(self) -> bool:
        """Whether files say that a model made them."""

    @property
    def parameters(self) -> bool:
        """Whether files are to hold the text of ``jobs.dataset.parameters``."""

    def encode(self, media: np.ndarray, parameters: str = "", /) -> bytes:
        """Return the file contents of an image, uint8 (height, width, 3), or of a clip, (frames, height, width, 3).

        ``parameters`` is a text to put into the file where image tools look for it; empty for none.
        """


@dataclass(frozen=True)
class ImageFormat:
    """Still pictures.

    Attributes:
        name: png, jpg or webp, and the member's extension.
        quality: 1-100, for jpg and webp.
        mark, parameters: see ``MediaFormat``.
    """

    name: str
    quality: int
    mark: bool = False
    parameters: bool = False
    fps: ClassVar[None] = None

    def encode(self, image: np.ndarray, parameters: str = "") -> bytes:
        """Return the file contents of a uint8 RGB array (height, width, 3).

        Of a jpg ``parameters`` are left out where they are longer than Exif can be (some 32,000 characters).
        """
        picture = Image.fromarray(image)
        sink = io.BytesIO()
        if self.name == "png":
            # Files as large as at level 6, in two thirds of the time.
            picture.save(sink, "PNG", compress_level=4, pnginfo=self._chunks(parameters))
        elif self.name == "jpg":
            said = self._segments(parameters)
            picture.save(sink, "JPEG", quality=self.quality, subsampling=0, optimize=False, **said)
        else:
            picture.save(sink, "WEBP", quality=self.quality, method=4, **self._segments(parameters))
        return sink.getvalue()

    def _chunks(self, parameters: str) -> PngInfo:
        chunks = PngInfo()
        if self.mark:
            chunks.add_itxt("XML:com.adobe.xmp", XMP)
        if parameters:
            chunks.add_text("parameters", parameters)
        return chunks

    def _segments(self, parameters: str) -> dict[str, Any]:
        said: dict[str, Any] = {"xmp": XMP.encode()} if self.mark else {}
        if parameters:
            exif = exif_comment(parameters).tobytes()
            if self.name != "jpg" or len(exif) <= _JPEG_EXIF:
                said["exif"] = exif
        return said
