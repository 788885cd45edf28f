"""Pictures and clips out of a shard's tar, in every format that runs write, and the batches they are scored in."""

import errno
import hashlib

import numpy as np
import pytest

from jobs.base.errors import BadInput
from jobs.media.image import ImageFormat, MediaFormat
from jobs.media.video import VideoFormat
from jobs.score.reading import Media, Picture, batches, pictures_of
from jobs.store.rundir import RunDir
from jobs.store.sidecar import whole
from jobs.store.tar import end_of_archive, sample_bytes

FORMATS: list[MediaFormat] = [
    ImageFormat("png", 95),
    ImageFormat("jpg", 95),
    ImageFormat("webp", 95),
    VideoFormat(8, 12),
]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_what_is_read_is_what_was_written(tmp_path, form) -> None:
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    picture = np.repeat(np.add.outer(ramp // 2, ramp // 2)[..., None], 3, -1)
    made = picture if form.fps is None else np.stack([picture] * 5)
    data = form.encode(made)
    members = sample_bytes("00000003_0000", {form.name: data, "txt": b"a ramp", "json": b"{}"})
    run = RunDir(tmp_path)
    run.data.mkdir()
    run.tar(0).write_bytes(members + end_of_archive(len(members)))
    media = Media(run, 0)
    read = media.read(Picture(3, "00000003_0000", {"sha256": hashlib.sha256(data).hexdigest()}))
    media.close()
    assert (read.dtype, read.shape) == (np.uint8, made.shape)
    assert np.abs(read.astype(int) - made).mean() < (0.1 if form.name == "png" else 3)


def test_a_damaged_sidecar_is_one_sentence(run) -> None:
    """Whatever bytes are damaged, or missing at its end; or some are, and it can be read all the same."""
    path = run / "meta/00001.parquet"
    data, refused = path.read_bytes(), 0
    ends = [data[:size] for size in (0, 4, len(data) // 2, len(data) - 1)]
    for damaged in (*ends, *(data[:place] + b"\xaa" * 40 + data[place + 40 :] for place in range(0, len(data), 29))):
        path.write_bytes(damaged)
        try:
            pictures_of(RunDir(run), 1)
        except BadInput as error:
            refused += 1
            assert f"{path} is missing or torn: restore it, or delete" in str(error)
    assert refused > len(data) // 29 // 2
    path.unlink()
    with pytest.raises(BadInput, match="is missing or torn"):
        pictures_of(RunDir(run), 1)


def test_what_the_disk_says_is_not_taken_for_damage() -> None:
    with pytest.raises(PermissionError), whole("a table", "restore it"):
        raise PermissionError(errno.EACCES, "no")


def test_batches_are_of_one_shape_and_bounded_in_bytes() -> None:
    def picture(index: int, height: int, frames: int = 1) -> Picture:
        return Picture(index, str(index), {"num_frames": frames, "height": height, "width": 1024})

    made = [*(picture(n, 1024) for n in range(5)), picture(5, 512), *(picture(n, 1024, 61) for n in (6, 7, 8))]
    found = [[one.index for one in batch] for batch in batches(made, 3)]
    assert found == [[0, 1, 2], [3, 4], [5], [6], [7], [8]]
