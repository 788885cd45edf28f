"""One submission at a time."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.execute import lock
from jobs.execute.lock import Held, submitting


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_a_second_command_does_not_come_in(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(lock, "LOCKED", 0.3)
    with submitting([run], said.append):
        with pytest.raises(Held), submitting([run]):
            pass
        ends = pytest.raises(BadInput, match=r"another command has been submitting .*end it \(process \d+ on ")
        with ends, submitting([run], said.append):
            pass
    assert said == [f"another command is just submitting tasks of {run}: waiting for it"]
    with submitting([run]):
        pass


def test_it_comes_in_when_the_first_one_is_killed(run: Path) -> None:
    hold = "import sys, time; from pathlib import Path; from jobs.execute.lock import submitting\n"
    hold += "with submitting([Path(sys.argv[1])]): print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", hold, str(run)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        said: list[str] = []

        def say(sentence: str) -> None:
            said.append(sentence)
            first.kill()

        with submitting([run], say):
            assert len(said) == 1


def test_a_full_disk_keeps_nobody_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file, data) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with submitting([run]):
        with pytest.raises(Held), submitting([run]):
            pass
        monkeypatch.setattr(lock, "LOCKED", 0.0)
        ends = pytest.raises(BadInput, match=r"submitting .* seconds: end it, and")  # nobody knows which
        with ends, submitting([run], lambda said: None):
            pass


def test_a_disk_without_locks_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(file, how) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    said: list[str] = []
    with submitting([run], said.append):
        assert "without locks: do not start two commands" in said[0]
