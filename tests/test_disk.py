"""What is said of a disk that lets a run down: real file systems where the machine has them, real errors otherwise."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import run as call

import pytest

from jobs.base.disk import disk_trouble, human_bytes
from jobs.report.summary import conclude
from jobs.store.atomic import write_bytes
from tests.support import new_run, small_disk, write_prompts


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB and 20 files."""
    with small_disk(tmp_path / "small", "size=64k,nr_inodes=20") as folder:
        yield folder


def trouble(folder: Path, write) -> str:
    with pytest.raises(OSError) as met:
        write()
    return disk_trouble(met.value, folder)


def test_a_disk_without_space_and_one_without_inodes(small: Path) -> None:
    said = trouble(small, lambda: write_bytes(small / "big", bytes(1 << 20)))
    assert said.startswith(f"the file system of {small} is full; once that is mended, the same command goes on")
    assert not list(small.iterdir())
    said = trouble(small, lambda: [(small / str(number)).touch() for number in range(40)])
    assert f"{small} has no inodes left" in said
    call(["mount", "-o", "remount,ro", small], check=True)
    assert "can only be read" in trouble(small, lambda: (small / "one").write_text("x"))


def test_a_directory_that_was_removed(tmp_path: Path) -> None:
    gone = tmp_path / "run"
    assert f"{gone} was removed" in trouble(gone, lambda: (gone / "data" / "x").write_text("x"))
    assert disk_trouble(FileNotFoundError(errno.ENOENT, "no such file", "/a/model"), tmp_path) == ""  # another file's
    assert disk_trouble(ValueError("x"), tmp_path) == ""
    assert "quota" in disk_trouble(OSError(errno.EDQUOT, "quota"), tmp_path)


def test_the_end_of_a_command_whose_directory_was_removed(tmp_path: Path, capsys) -> None:
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 2)}")
    shutil.rmtree(run.directory.path)
    assert conclude([(run, [0])], []) == 1
    assert capsys.readouterr().out == f"problem: {run.directory.path} was removed, and all that was made in it\n"


def test_little_is_not_shown_as_none() -> None:
    sizes = (0, 999, 1.5e6, 12_345_678_901, 5e13)
    assert [human_bytes(size) for size in sizes] == ["0 bytes", "999 bytes", "1.5 MB", "12.3 GB", "50 TB"]


def test_a_preview_that_cannot_be_drawn_is_no_failure(tmp_path: Path, capsys, monkeypatch) -> None:
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 2)}")
    run.directory.tar(0).touch()
    run.directory.done_record(0).write_text(
        '{"samples": 2, "failed": [], "reasons": {}, "flagged": 0, "finished": 0, "fingerprint": ""}'
    )

    def full(directory) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("jobs.report.summary.make_preview", full)
    assert conclude([(run, [0])], []) == 0
    assert "no preview.png: OSError: [Errno 28] No space left on device" in capsys.readouterr().out
