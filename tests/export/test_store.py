"""Exports that are copied to stores: a real S3 server and a file system, kills, refusals, and what is there already."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.store import address
from tests.export.runs import finished_run, lines
from tests.export.test_export import WEB, export, files, refusal
from tests.export.test_kills import export_all
from tests.s3 import BUCKET, S3
from tests.support import small_disk
from tests.warm.forks import start

OPTIONS = ("split=0.5,0.5", "shard_mb=0.02")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve samples in three shards."""
    return finished_run(tmp_path_factory.mktemp("one"), lines(12)).directory.path


def there(s3: S3) -> dict[str, str]:
    """Path -> sha256 of every file in the store's folder ``set``."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in s3.objects(BUCKET, "set/").items()}


DEST = f"dest=s3://{BUCKET}/set"


def test_a_store_has_every_file_and_the_last_ones_last(run, s3, tmp_path, capsys) -> None:
    export(run, tmp_path / "out", DEST, *OPTIONS)
    assert there(s3) == files(tmp_path / "out")
    names = [name.removeprefix("set/") for name in s3.puts]
    assert (names[0], names[-2:]) == ("stats.json", ["README.md", "SHA256SUMS"])
    assert len(names) == len({*names}) == len(files(tmp_path / "out"))
    assert "sizes and hashes as here" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]

    s3.requests.clear()
    export(run, tmp_path / "out", DEST, *OPTIONS)
    assert not s3.puts


def test_the_copy_decides_no_byte_and_may_come_later(run, s3, tmp_path) -> None:
    export(run, tmp_path / "out", *OPTIONS)
    export(run, tmp_path / "out", DEST, *OPTIONS)
    assert there(s3) == files(tmp_path / "out")


def test_another_export_or_something_else_is_never_overwritten(run, s3, tmp_path, capsys) -> None:
    export(run, tmp_path / "out", DEST, *OPTIONS)
    before = there(s3)
    said = refusal(capsys, run, tmp_path / "two", DEST, "shard_mb=5")
    assert f"s3://{BUCKET}/set holds another export: shard_mb was 0.02, is 5.0" in said
    s3.client().put_object(Bucket=BUCKET, Key="mine/file", Body=b"mine")
    assert "holds something that is no export" in refusal(capsys, run, tmp_path / "two", f"dest=s3://{BUCKET}/mine")
    assert "there is no bucket nobody" in refusal(capsys, run, tmp_path / "two", "dest=s3://nobody/set")
    assert there(s3) == before and s3.objects(BUCKET, "mine/") == {"file": b"mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_of_two_exports_that_begin_at_once_the_first_has_the_place(run, s3, tmp_path, capsys) -> None:
    """The other one's first file comes between this one's look and its own first file."""
    other = json.dumps({"export": {"runs": [], "shard_mb": 1.0}}).encode()

    def first(method: str, path: str) -> None:
        if method == "PUT":
            s3.before = lambda method, path: None
            s3.client().put_object(Bucket=BUCKET, Key="set/stats.json", Body=other)

    s3.before = first
    assert "holds another export" in refusal(capsys, run, tmp_path / "out", DEST, *OPTIONS)
    assert s3.objects(BUCKET, "set/") == {"stats.json": other}


@pytest.mark.slow
def test_a_store_that_asks_to_slow_down_is_asked_again(run, s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # those that wait longest are not what is tried
    asked: dict[tuple[str, str], int] = {}

    def twice(method: str, path: str) -> bool:
        asked[method, path] = asked.get((method, path), 0) + 1
        return asked[method, path] <= 2

    s3.before = twice
    export(run, tmp_path / "out", DEST, *OPTIONS)
    assert there(s3) == files(tmp_path / "out")


def test_a_store_that_stays_away_is_said_and_the_same_command_goes_on(run, s3, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("jobs.store.patience._WAITS", ())
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3.before = lambda method, path: method == "PUT" and path.endswith("00001.tar")
    said = refusal(capsys, run, tmp_path / "out", DEST, *OPTIONS)
    assert "could not take" in said and "reduce your request rate" in said and "goes on" in said
    sent = {*there(s3)}
    assert "stats.json" in sent and "SHA256SUMS" not in sent
    s3.before = lambda method, path: None
    s3.requests.clear()
    export(run, tmp_path / "out", DEST, *OPTIONS)
    assert there(s3) == files(tmp_path / "out")
    assert {name.removeprefix("set/") for name in s3.puts} == {*files(tmp_path / "out")} - sent


def test_what_a_store_garbles_is_sent_again(run, s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("jobs.store.patience._WAITS", (0,))

    def once(path: str, data: bytes) -> bytes:
        if not path.endswith("metadata.parquet") or s3.puts.count(path.split("/", 2)[2]) > 1:
            return data
        return data.replace(b"PAR1", b"PAR2", 1)

    s3.garble = once
    export(run, tmp_path / "out", DEST, *OPTIONS)
    assert s3.puts.count("set/metadata.parquet") == 2
    assert there(s3) == files(tmp_path / "out")


@pytest.mark.slow
def test_large_files_are_sent_in_parts(s3, tmp_path, monkeypatch) -> None:
    """In parts of the least size that S3 takes; the first one is refused once."""
    monkeypatch.setitem(address.KINDS["s3"][3], "chunksize", 5 << 20)
    refused = []

    def once(method: str, path: str) -> bool:
        due = method == "PUT" and path.endswith(".tar") and not refused
        refused.extend([path] if due else [])
        return due

    s3.before = once
    path = finished_run(tmp_path, lines(3), size=lambda sample: 1300).directory.path
    export(path, tmp_path / "out", DEST)
    tar = "set/train/train-00000.tar"
    assert (tmp_path / "out/train/train-00000.tar").stat().st_size > 10 << 20
    assert s3.puts.count(tar) >= 4 and ("POST", f"/{BUCKET}/{tar}") in s3.requests
    assert there(s3) == files(tmp_path / "out")


def test_a_file_that_was_changed_here_is_not_sent(run, s3, tmp_path, capsys) -> None:
    export(run, tmp_path / "out", *OPTIONS)
    table = tmp_path / "out/metadata.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    assert "metadata.parquet has other bytes" in refusal(capsys, run, tmp_path / "out", DEST, *OPTIONS)
    (tmp_path / "out/mine.txt").write_text("mine")
    assert "mine.txt is no file of the export" in refusal(capsys, run, tmp_path / "out", DEST, *OPTIONS)
    assert "SHA256SUMS" not in there(s3)


def attempt(environment: dict[str, str], *arguments: Any) -> None:
    """One command in a process of its own."""
    os.environ.update(environment)
    export_all(*arguments)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_uploads_that_are_killed_at_their_requests_go_on(run, s3, tmp_path) -> None:
    export(run, tmp_path / "out", *OPTIONS)
    whole, kills = files(tmp_path / "out"), 0
    again = [run], tmp_path / "out", [DEST, *OPTIONS, *WEB]
    for _ in s3.deaths(lambda: start(attempt, s3.environment, *again), 7):
        kills += 1
        found = there(s3)
        assert all(found[name] == whole[name] for name in found)
        assert "SHA256SUMS" not in found or found == whole
    assert there(s3) == whole and kills >= 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_destination_is_a_folder_here(run, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(capsys, run, "s3://bucket/set")
    assert said.endswith(
        "is no folder on this machine: name one, and add dest=s3://bucket/set to have it copied there\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_mounted_file_system_is_a_store_too(run, tmp_path, capsys) -> None:
    url = f"dest=file://{tmp_path}/mounted/set"
    export(run, tmp_path / "out", url, *OPTIONS)
    assert files(tmp_path / "mounted/set") == files(tmp_path / "out")
    assert "holds another export" in refusal(capsys, run, tmp_path / "two", url, "shard_mb=5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mounted", "out"]


def test_a_copy_does_not_lie_within_what_it_is_a_copy_of(run, tmp_path, capsys) -> None:
    for place in (tmp_path / "out/copy", tmp_path / "out.partial", run, run / "data/copy"):
        said = refusal(capsys, run, tmp_path / "out", f"dest=file://{place}")
        assert "lies within" in said and "choose another place for the copy" in said
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_made(run, tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(capsys, run, tmp_path / "out", f"dest=file://{tmp_path}/file/set")
    with small_disk(tmp_path / "small", "size=1m") as folder:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        assert "cannot be written" in refusal(capsys, run, tmp_path / "out", f"dest=file://{folder}/set")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_copies_to_a_file_system_that_are_killed_go_on(run, tmp_path) -> None:
    """Dies before or after a call to the disk, a few further on each time."""
    export(run, tmp_path / "out", *OPTIONS)
    kills, step = 0, 1
    while True:
        folder = tmp_path / f"mounted{step}"
        process = start(export_all, [run], tmp_path / "out", [f"dest=file://{folder}", *OPTIONS, *WEB], step)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "SHA256SUMS").exists() or files(folder) == files(tmp_path / "out")
        export(run, tmp_path / "out", f"dest=file://{folder}", *OPTIONS)
        assert files(folder) == files(tmp_path / "out")
        kills, step = kills + 1, step + 9
    assert kills >= 3


def test_a_library_that_is_missing_is_named(run, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert "needs gcsfs: pip install gcsfs" in refusal(capsys, run, tmp_path / "out", "dest=gs://bucket/set")


@pytest.mark.parametrize("address", ["s3://", "bucket/folder", "ftp://host/folder", "s3:/bucket", "s3:///"])
def test_addresses_that_are_none_are_refused(run, tmp_path, capsys, address) -> None:
    assert "dest must be an address like" in refusal(capsys, run, tmp_path / "out", f"dest={address}")
    assert not any(tmp_path.iterdir())
