"""Clips as mp4 files and back, through imageio-ffmpeg. Byte-deterministic: the same frames give the same file."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import imageio_ffmpeg
import numpy as np

from jobs.media.mark import xmp_box

# The same bytes on every machine: one thread, because x264 cuts frames up by the number of threads; arithmetic that
# does not depend on what the processor can do; no dates, no encoder names, no random ids.
_STEADY = (
    *("-threads", "1", "-x264-params", "cpu-independent=1"),
    *("-fflags", "+bitexact", "-flags:v", "+bitexact"),
)
# Said and done as for HD: where nothing is said, players guess by the size of the picture. Said by a filter, because
# the encoder takes what the frames say, and raw frames say "unknown", over what its own options do.
_COLOURS = (
    "-vf",
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+bitexact,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv",
)
# Readers that fetch a clip over a network begin before its end.
_LAYOUT = ("-movflags", "+faststart")


@dataclass(frozen=True)
class VideoFormat:
    """H.264 in mp4, colours at half resolution (yuv420p), which every player and reader takes.

    Attributes:
        fps: frames a second.
        crf: constant rate factor of x264, 0-51: 0 is the best, 18 looks like the original.
        keyframes: frames from one keyframe to the next; None leaves it to x264: at cuts, and every 250th.
        mark, parameters: see ``jobs.media.image.MediaFormat``.
    """

    fps: int
    crf: int
    keyframes: int | None = None
    mark: bool = False
    parameters: bool = False
    name: ClassVar[str] = "mp4"

    def encode(self, frames: np.ndarray, parameters: str = "") -> bytes:
        """Return the file contents of a uint8 RGB array (frames, height, width, 3), height and width even.

        ``parameters`` become the file's comment.

        Raises:
            RuntimeError: the encoder failed; its last words are in the message.
        """
        _, height, width, _ = frames.shape
        with tempfile.TemporaryDirectory(prefix="clip-") as folder:
            path, metadata = Path(folder) / "clip.mp4", Path(folder) / "metadata.txt"
            metadata.write_text(_metadata(parameters), encoding="utf-8", newline="")
            source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(self.fps), "-i", "-")
            # A file, because the system limits how long an argument is.
            said = ("-f", "ffmetadata", "-i", str(metadata), "-map_metadata", "1")
            codec = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(self.crf), "-preset", "medium")
            options = (*source, *said, *codec, *self._keyframes(), *_STEADY, *_COLOURS, *_LAYOUT)
            # imageio-ffmpeg's own writer does not look at the exit code: a full disk would leave half a clip.
            ended = subprocess.run(
                [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *options, path],
                input=np.ascontiguousarray(frames).reshape(-1).data,
                capture_output=True,
            )
            if ended.returncode:
                words = ended.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
                raise RuntimeError(f"the video encoder ended with code {ended.returncode}: {words[-1]}")
            return path.read_bytes() + (xmp_box() if self.mark else b"")

    def _keyframes(self) -> tuple[str, ...]:
        if self.keyframes is None:
            return ()
        # None at cuts: these would begin the count anew.
        return ("-g", str(self.keyframes), "-keyint_min", str(self.keyframes), "-sc_threshold", "0")


def _metadata(comment: str) -> str:
    """Return ffmpeg's file of metadata with nothing in it but a comment, if that is not empty."""
    escaped = re.sub(r"[=;#\\\r\n]", r"\\\g<0>", comment)
    return f";FFMETADATA1\ncomment={escaped}\n" if comment else ";FFMETADATA1\n"


def read_clip(data: bytes) -> np.ndarray:
    """Return the frames of an mp4 file's contents: uint8 (frames, height, width, 3)."""
    with tempfile.TemporaryDirectory(prefix="clip-") as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(data)
        source = imageio_ffmpeg.read_frames(path)
        width, height = next(source)["source_size"]
        return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in source])
