"""``python -m jobs.report``: what it says, what it refuses, and a server that ends when it is told to."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from jobs.report.__main__ import main
from tests import warm
from tests.export.runs import finished_run, lines
from tests.score.scored import scorings


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["jobs.report", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def test_what_cannot_be_done_is_refused_in_a_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    run = str(finished_run(tmp_path, lines(3)).directory.path)
    assert "is not a run: it has no run.json" in refusal(monkeypatch, capsys, str(tmp_path / "none"))
    assert "is not a run: it has no run.json" in refusal(monkeypatch, capsys, str(tmp_path), "--serve")
    assert "--samples must be at least 1, not 0" in refusal(monkeypatch, capsys, run, "--samples", "0")
    assert "--port must be below 65536, not 70000" in refusal(monkeypatch, capsys, run, "--serve", "--port", "70000")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} cannot be had (Address already in use): choose another with --port" in refusal(
            monkeypatch, capsys, run, "--serve", "--port", port
        )
    (scoring,) = scorings(Path(run), "scorers=[basic]")
    assert f"holds scores of {run}: name that run" in refusal(monkeypatch, capsys, str(scoring.directory.path))
    with contextlib.chdir(run):
        assert f"holds scores of {run}: name that run" in refusal(monkeypatch, capsys, "scores/basic")
    (Path(run) / "report.html").mkdir()  # what nothing can be moved onto
    assert "there is no new report.html: " in refusal(monkeypatch, capsys, run)
    assert not list(Path(run).glob(".report*"))


def test_the_server_says_where_it_is_and_ends_at_an_interrupt(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lines(3)).directory.path
    words = [sys.executable, "-m", "jobs.report", str(run), "--serve"]
    with warm.Popen(words, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(f"{run}/report.html: ")
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/\S{20,}/) until Ctrl-C\n", process.stdout.readline())
        assert address
        with urllib.request.urlopen(address[1], timeout=60) as answer:
            assert answer.read() == (run / "report.html").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
