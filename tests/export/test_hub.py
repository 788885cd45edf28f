"""Exports that are copied to the hub: its real client, before a stand-in for the hub."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from tests.export.runs import finished_run, lines
from tests.export.test_export import WEB, export, refusal
from tests.fake_hub_uploads import TOKEN, FakeUploads
from tests.support import PROJECT

HUB = "hub=owner/shapes"
OPTIONS = ("split=0.5,0.5", "shard_mb=0.02")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeUploads]:
    """A hub on which there is no such repository yet, to which this process's client is led."""
    fake = FakeUploads("owner/shapes")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", fake.url + template)
    monkeypatch.setattr(constants, "ENDPOINT", fake.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("jobs.store.patience._WAITS", (0, 0, 0))
    disable_progress_bars()
    yield fake
    enable_progress_bars()
    fake.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve samples in three shards."""
    return finished_run(tmp_path_factory.mktemp("one"), lines(12)).directory.path


def contents(folder: Path) -> dict[str, bytes]:
    """Path -> contents of every file."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(hub: FakeUploads) -> dict[str, bytes]:
    """What the repository holds but what it has of itself."""
    return {name: data for name, data in (hub.files or {}).items() if name != ".gitattributes"}


def test_the_hub_has_every_file_and_the_last_one_last(run, hub, tmp_path, capsys) -> None:
    export(run, tmp_path / "out", HUB, *OPTIONS)
    assert there(hub) == contents(tmp_path / "out")
    assert (hub.commits[0], hub.commits[-1]) == (["stats.json", "README.md"], ["SHA256SUMS"])
    assert "sizes and hashes as here" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    before = len(hub.commits)
    export(run, tmp_path / "out", HUB, *OPTIONS)
    assert len(hub.commits) == before


def test_a_card_that_was_edited_there_is_left_alone(run, hub, tmp_path) -> None:
    export(run, tmp_path / "out", HUB, *OPTIONS)
    assert hub.files
    hub.files["README.md"] += b"More words.\n"
    export(run, tmp_path / "out", HUB, *OPTIONS)
    assert hub.files["README.md"].endswith(b"More words.\n")


def test_another_export_or_something_else_is_never_overwritten(run, hub, tmp_path, capsys) -> None:
    hub.files = {".gitattributes": b"", "mine.txt": b"mine"}
    assert "holds something that is no export" in refusal(capsys, run, tmp_path / "out", HUB)
    hub.files = None
    export(run, tmp_path / "out", HUB, *OPTIONS)
    before = there(hub)
    said = refusal(capsys, run, tmp_path / "two", HUB, "shard_mb=5")
    assert "owner/shapes holds another export: shard_mb was 0.02, is 5.0" in said
    assert there(hub) == before and not (tmp_path / "two").exists()


def test_of_two_exports_that_begin_at_once_the_first_has_the_place(run, hub, tmp_path, capsys) -> None:
    """The other one's first commit comes between this one's look and its own."""
    other = json.dumps({"export": {"runs": [], "shard_mb": 1.0}}).encode()

    def first(method: str, path: str) -> None:
        if "/commit/" in path and hub.files is not None and "stats.json" not in hub.files:
            hub.files["stats.json"] = other
            hub.commits.append(["stats.json"])

    hub.before = first
    assert "holds another export" in refusal(capsys, run, tmp_path / "out", HUB, *OPTIONS)
    assert there(hub) == {"stats.json": other}


def test_who_is_not_known_or_not_allowed_is_told_before_anything_is_made(
    run, hub, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "could not tell who you are" in refusal(capsys, run, tmp_path / "out", HUB)
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refusal(capsys, run, tmp_path / "out", HUB)
    assert "hub must be OWNER/NAME" in refusal(capsys, run, tmp_path / "out", "hub=shapes")
    assert not any(tmp_path.iterdir())


def test_a_card_that_the_hub_refuses_is_known_before_the_data_is_sent(run, hub, tmp_path, capsys) -> None:
    hub.rejects_card = True
    assert "must be one of" in refusal(capsys, run, tmp_path / "out", HUB, *OPTIONS)
    assert not there(hub) and not hub.objects


def test_a_hub_that_is_busy_is_asked_again(run, hub, tmp_path) -> None:
    asked: dict[tuple[str, str], int] = {}

    def once(method: str, path: str) -> int | None:
        asked[method, path] = asked.get((method, path), 0) + 1
        return 503 if asked[method, path] == 1 and "/commit/" in path else None

    hub.before = once
    export(run, tmp_path / "out", HUB, *OPTIONS)
    assert there(hub) == contents(tmp_path / "out")


def test_what_came_out_otherwise_is_said(run, hub, tmp_path, capsys) -> None:
    def garble(method: str, path: str) -> None:
        if "/tree/" in path and hub.files and "metadata.parquet" in hub.files:
            hub.files["metadata.parquet"] = b"PAR2" + hub.files["metadata.parquet"][4:]

    hub.before = garble
    assert "has not got metadata.parquet as it is here" in refusal(capsys, run, tmp_path / "out", HUB, *OPTIONS)
    assert "SHA256SUMS" not in there(hub)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_uploads_that_are_killed_at_their_requests_go_on(run, hub, tmp_path) -> None:
    """The hub ends the client before one request or the other, a few further on each time."""
    export(run, tmp_path / "out", *OPTIONS)
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}
    words = [sys.executable, "-m", "jobs.export", str(run), str(tmp_path / "out"), HUB, *OPTIONS, *WEB]
    whole, kills, step = contents(tmp_path / "out"), 0, 3
    process: subprocess.Popen[bytes] | None = None

    def deadly(method: str, path: str) -> None:
        if len(hub.requests) == step and process:
            process.send_signal(signal.SIGKILL)

    hub.before = deadly
    while True:
        hub.requests.clear()
        process = subprocess.Popen(words, env={**os.environ, **settings}, cwd=PROJECT, stdout=subprocess.DEVNULL)
        code = process.wait()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        found = there(hub)
        assert all(found[name] == whole[name] for name in found)
        assert "SHA256SUMS" not in found or found == whole
        kills, step = kills + 1, step + 5
    assert there(hub) == whole and kills >= 3
