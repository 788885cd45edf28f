"""Clips as files: the same bytes every time, and what is read back is what was made."""

import subprocess
import sys
from hashlib import sha256

import imageio_ffmpeg
import numpy as np
import pytest

from jobs.media.video import VideoFormat, read_clip
from tests.media.readers import exiftool, ffprobe


def clip(frames: int = 9, height: int = 48, width: int = 64) -> np.ndarray:
    """A bright square that moves over a coloured ramp: uint8 (frames, height, width, 3)."""
    ramp = np.linspace(0, 255, width)[None, :, None] * np.array([1.0, 0.5, 0.2])
    made = np.broadcast_to(ramp, (frames, height, width, 3)).astype(np.uint8).copy()
    for number in range(frames):
        made[number, 8:24, 2 * number : 2 * number + 16] = (250, 240, 30)
    return made


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (5, 48, 64), (33, 130, 66)])
def test_every_frame_comes_back_at_its_size(frames: int, height: int, width: int):
    made = clip(frames, height, width)
    read = read_clip(VideoFormat(8, 10).encode(made))
    assert read.shape == made.shape and read.dtype == np.uint8
    assert np.abs(read.astype(int) - made).mean() < 6


def test_a_lower_rate_factor_is_closer_to_the_original():
    made = clip()
    files = [VideoFormat(8, crf).encode(made) for crf in (5, 40)]
    errors = [np.abs(read_clip(file).astype(int) - made).mean() for file in files]
    assert errors[0] < errors[1] and len(files[0]) > len(files[1])


def test_the_bytes_are_the_same_in_another_process_on_another_number_of_cores():
    here = sha256(VideoFormat(8, 18).encode(clip())).hexdigest()
    code = (
        "from hashlib import sha256; from jobs.media.video import VideoFormat; "
        "from tests.media.test_video import clip; "
        "print(sha256(VideoFormat(8, 18).encode(clip())).hexdigest())"
    )
    there = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


@pytest.mark.parametrize("flags", ["0", "sse4.2"])
def test_the_bytes_are_the_same_on_another_processor(flags: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
    here = VideoFormat(8, 18).encode(clip())
    other = tmp_path / "ffmpeg"
    other.write_text(f'#!/bin/sh\nexec {imageio_ffmpeg.get_ffmpeg_exe()} -cpuflags {flags} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other))
    assert VideoFormat(8, 18).encode(clip()) == here


@pytest.mark.parametrize("script", ["exec false", "cat > /dev/null; echo no space left >&2; exit 1"])
def test_an_encoder_that_fails_is_noticed(script: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    with pytest.raises(RuntimeError, match=r"^the video encoder ended with code 1: (it said nothing|no space left)$"):
        VideoFormat(8, 18).encode(clip())


def test_players_are_told_rate_and_colours(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(VideoFormat(24, 18).encode(clip(frames=12)))
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True).stderr
    assert "Duration: 00:00:00.50" in said
    assert "h264" in said and "yuv420p(tv, bt709, progressive)" in said and "64x48" in said and "24 fps" in said
    assert "creation_time" not in said
    source = imageio_ffmpeg.read_frames(path)
    assert next(source)["pix_fmt"] == "yuv420p(tv, bt709, progressive)"  # else it says bt709/unknown/unknown
    source.close()


def test_colours_are_told_by_the_container_and_by_the_stream_alone(tmp_path):
    path, stream = tmp_path / "clip.mp4", tmp_path / "clip.h264"
    path.write_bytes(VideoFormat(8, 18).encode(clip()))
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-c", "copy", stream], check=True)
    for file in (path, stream):
        (told,) = ffprobe(file, "stream=color_range,color_space,color_transfer,color_primaries")["streams"]
        assert told == {
            **{"color_range": "tv", "color_space": "bt709"},
            **{"color_transfer": "bt709", "color_primaries": "bt709"},
        }
    _, box, content = path.read_bytes().partition(b"colrnclx")
    # Primaries, transfer and matrix are number 1, BT.709; not the full range.
    assert box and content[:7] == bytes([0, 1, 0, 1, 0, 1, 0])


def keyframes(path) -> list[int]:
    frames = ffprobe(path, "frame=key_frame")["frames"]
    return [number for number, frame in enumerate(frames) if frame["key_frame"]]


@pytest.mark.parametrize(
    ("interval", "there"),
    [(None, [0, 14]), (1, list(range(25))), (2, list(range(0, 25, 2))), (10, [0, 10, 20]), (100, [0])],
)
def test_a_keyframe_comes_as_often_as_asked_also_around_a_cut(interval: int | None, there: list[int], tmp_path):
    made = clip(frames=25)
    made[14:] = 255 - made[14:, ::-1, ::-1]
    path = tmp_path / "clip.mp4"
    path.write_bytes(VideoFormat(8, 18, interval).encode(made))
    assert keyframes(path) == there


def boxes(data: bytes) -> list[str]:
    """The names of a file's outermost boxes."""
    names, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        assert size >= 8
        names.append(data[at + 4 : at + 8].decode())
        at += size
    assert at == len(data)
    return names


TEXT = "a = b; # c \\ é 日本\r\n[two]\nNegative prompt: x\nSteps: 5, Seed: 7"


def test_a_marked_clip_says_that_a_model_made_it_and_plays_from_its_beginning(tmp_path):
    path = tmp_path / "clip.mp4"
    plain, marked = (VideoFormat(8, 18, mark=mark).encode(clip()) for mark in (False, True))
    path.write_bytes(marked)
    made = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert exiftool(path)["XMP-iptcExt:DigitalSourceType"] == made
    assert made in ffprobe(path, "format_tags", "-export_xmp", "1")["format"]["tags"]["xmp"]
    assert boxes(plain) == ["ftyp", "moov", "free", "mdat"] and boxes(marked) == [*boxes(plain), "uuid"]
    assert marked.startswith(plain) and made.encode() not in plain


@pytest.mark.parametrize("text", [TEXT, "x" * 200_000])
def test_parameters_are_the_comment_and_move_no_frame(text: str, tmp_path):
    path = tmp_path / "clip.mp4"
    encoder = VideoFormat(8, 18, mark=True)
    path.write_bytes(encoder.encode(clip(), text))
    assert path.read_bytes() == encoder.encode(clip(), text)
    assert exiftool(path)["ItemList:Comment"] == text
    tags = ffprobe(path, "format_tags")["format"]["tags"]
    assert tags["comment"] == text and "encoder" not in tags
    assert boxes(path.read_bytes()) == ["ftyp", "moov", "free", "mdat", "uuid"]
    plain = VideoFormat(8, 18).encode(clip())
    assert np.array_equal(read_clip(path.read_bytes()), read_clip(plain)) and len(read_clip(plain)) == 9
    assert len(ffprobe(path, "frame=key_frame")["frames"]) == 9
