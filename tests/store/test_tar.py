"""Tar bytes: what real readers see, and what a read-back refuses."""

import hashlib
import tarfile
from pathlib import Path

import pytest
import webdataset as wds

from jobs.store.tar import end_of_archive, sample_bytes, verify

SAMPLES = [(f"{i:04d}", {"png": bytes([i]) * (100 * i + 1), "txt": b"a prompt", "json": b"{}"}) for i in range(5)]
NAMES = [f"{key}.{extension}" for key, members in SAMPLES for extension in members]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture
def body() -> bytes:
    return b"".join(sample_bytes(key, members) for key, members in SAMPLES)


def test_readers_see_every_member_once_and_in_order(tmp_path: Path, body: bytes) -> None:
    path = write(tmp_path / "0.tar", body + end_of_archive(len(body)))
    with tarfile.open(path) as archive:
        assert archive.getnames() == NAMES
    seen = [(sample["__key__"], sample["png"]) for sample in wds.WebDataset(str(path), shardshuffle=False)]
    assert seen == [(key, members["png"]) for key, members in SAMPLES]


def test_bytes_equal_those_of_pythons_own_archive(tmp_path: Path, body: bytes) -> None:
    with tarfile.open(tmp_path / "python.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for key, members in SAMPLES:
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size, info.mode = len(data), 0o644
                file = write(tmp_path / "member", data)
                with open(file, "rb") as stream:
                    archive.addfile(info, stream)
    assert (tmp_path / "python.tar").read_bytes() == body + end_of_archive(len(body))


def test_verify_accepts_what_was_written(tmp_path: Path, body: bytes) -> None:
    whole = body + end_of_archive(len(body))
    verify(write(tmp_path / "0.tar", whole), NAMES, hashlib.sha256(whole).hexdigest())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data, size: data[: size // 2], "cut short|members"),
        (lambda data, size: data[:size], "end of archive"),
        (lambda data, size: data[:-1], "end of archive"),
        (lambda data, size: data[: size - 512] + bytes(len(data) - size + 512), "other bytes"),
        (lambda data, size: data + b"x", "end of archive"),
        (lambda data, size: data[:-512] + b"x" * 512, "end of archive"),
        (lambda data, size: data[1024:], "members"),
    ],
    ids=["half", "no end", "one byte less", "last block zeroed", "one byte more", "rubbish at the end", "first lost"],
)
def test_verify_refuses_what_opens_without_error_elsewhere(tmp_path, body, damage, message) -> None:
    whole = body + end_of_archive(len(body))
    with pytest.raises((OSError, tarfile.TarError), match=message):
        verify(write(tmp_path / "0.tar", damage(whole, len(body))), NAMES, hashlib.sha256(whole).hexdigest())
