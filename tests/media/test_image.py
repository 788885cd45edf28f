"""Images as files: what they say of themselves, in every format, to the programs that are asked."""

import io
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import webdataset as wds
from PIL import ExifTags, Image

from jobs.media.image import ImageFormat
from tests.media.readers import exiftool
from tests.support import picture

TEXT = "a café at night, 日本\nby the sea\nNegative prompt: blurry\nSteps: 50, Sampler: Euler, Seed: 7"
MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
FORMATS = pytest.mark.parametrize("name", ["png", "jpg", "webp"])
WHERE = {"png": "PNG:Parameters", "jpg": "ExifIFD:UserComment", "webp": "ExifIFD:UserComment"}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def comment(data: bytes) -> str:
    """The parameters as programs read them that know only one byte order for Unicode comments."""
    image = opened(data)
    if "parameters" in image.info:
        return image.info["parameters"]
    value = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert value.startswith(b"UNICODE\0")
    return value[8:].decode("utf-16-be")


@FORMATS
def test_a_marked_file_says_that_a_model_made_it(name: str, tmp_path: Path):
    path = tmp_path / f"a.{name}"
    path.write_bytes(ImageFormat(name, 95, mark=True).encode(picture(1)))
    assert exiftool(path)["XMP-iptcExt:DigitalSourceType"] == MADE
    with Image.open(path) as image:
        said = ElementTree.fromstring(image.info["xmp"])
    tag = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert [element.text for element in said.iter(tag)] == [MADE]


@FORMATS
def test_parameters_stand_where_image_tools_look(name: str, tmp_path: Path):
    path = tmp_path / f"a.{name}"
    path.write_bytes(ImageFormat(name, 95, mark=True).encode(picture(1), TEXT))
    assert comment(path.read_bytes()) == TEXT
    said = exiftool(path)
    assert said[WHERE[name]] == TEXT and said["XMP-iptcExt:DigitalSourceType"] == MADE


@FORMATS
def test_a_file_says_nothing_unless_told_to(name: str, tmp_path: Path):
    path = tmp_path / f"a.{name}"
    path.write_bytes(ImageFormat(name, 95).encode(picture(1)))
    assert not [tag for tag in exiftool(path) if tag.startswith(("XMP", "ExifIFD")) or tag == "PNG:Parameters"]


@FORMATS
def test_pixels_stay_and_bytes_are_the_same_every_time(name: str):
    plain, marked = (ImageFormat(name, 95, mark=mark) for mark in (False, True))
    files = [marked.encode(picture(1), TEXT) for _ in range(2)]
    assert files[0] == files[1]
    assert np.array_equal(opened(files[0]).convert("RGB"), opened(plain.encode(picture(1))).convert("RGB"))
    if name == "png":
        assert np.array_equal(opened(files[0]), picture(1))


@FORMATS
def test_loaders_of_shards_read_it(name: str, tmp_path: Path):
    shard = tmp_path / "0.tar"
    data = ImageFormat(name, 95, mark=True).encode(picture(1), TEXT)
    with tarfile.open(shard, "w") as tar:
        member = tarfile.TarInfo(f"a.{name}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    for decoder in ("pil", "rgb8"):
        (row,) = wds.WebDataset(str(shard), shardshuffle=False).decode(decoder)
        assert np.array_equal(row[name], opened(data).convert("RGB"))


@pytest.mark.parametrize(("length", "there"), [(32_000, True), (33_000, False)])
def test_a_text_that_exif_cannot_hold_in_a_jpg_is_left_out(length: int, there: bool):
    data = ImageFormat("jpg", 95).encode(picture(1), "x" * length)
    assert opened(data).size == (16, 16)
    assert bool(opened(data).getexif()) == there
    assert comment(ImageFormat("webp", 95).encode(picture(1), "x" * length)) == "x" * length
