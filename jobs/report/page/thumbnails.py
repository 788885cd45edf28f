"""Small pictures of samples: of an image one, of a clip some of its frames side by side."""

import io
import subprocess

import imageio_ffmpeg
from PIL import Image

FRAMES = 4  # of a clip, from its first to its last
_QUALITY = 70  # webp would be a little smaller, and take ten times as long


def image_thumbnail(data: bytes, side: int) -> bytes:
    """Return a jpg of an image file's contents, at most ``side`` pixels wide and high, never larger than it was.

    Raises:
        OSError: it is no image.
    """
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", (side, side))  # of a jpg no more is decoded than is needed
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return _jpg(picture)


def clip_thumbnail(data: bytes, frames: int, side: int) -> tuple[bytes, int]:
    """Return a jpg of frames of an mp4 file's contents, side by side, and how many these are.

    Args:
        data: the file.
        frames: how many frames it has.
        side: the most pixels that one is to be wide and high.

    Raises:
        OSError: it cannot be decoded.
    """
    count = min(FRAMES, max(frames, 1))
    chosen = {number * (frames - 1) // max(count - 1, 1) for number in range(count)}
    filters = (
        f"select='{'+'.join(f'eq(n,{number})' for number in sorted(chosen))}',"
        f"scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease,tile={len(chosen)}x1"
    )
    words = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-threads", "1", "-i", "pipe:0", "-vf", filters]
    words += ["-fps_mode", "passthrough", "-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "pipe:1"]
    ended = subprocess.run(words, input=data, capture_output=True)
    if not ended.stdout:
        told = ended.stderr.decode(errors="replace").strip().splitlines() or ["no frame"]
        raise OSError(f"ffmpeg: {told[-1]}")
    with Image.open(io.BytesIO(ended.stdout)) as picture:
        return _jpg(picture), len(chosen)


def _jpg(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.convert("RGB").save(sink, "JPEG", quality=_QUALITY)
    return sink.getvalue()
