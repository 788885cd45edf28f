"""Tests for inner runs of pytest only: no run collects them unless it names this file."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.session.inner import LIMIT, ready, witness_file
from tools.slurm.processes import wait_for

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(3600)"


@pytest.fixture
def witness() -> Iterator[None]:
    """A fixture whose teardown can be seen from outside of the session's folder."""
    yield
    witness_file(Path(os.environ["TMPDIR"]).parent).touch()


def test_holds_processes(witness: None, tmp_path: Path) -> None:
    """Bring up what tests bring up, tell their process ids and wait to be ended."""
    command = [sys.executable, "-m", "jobs.generate", f"output_base_path={tmp_path}", "ngpu=2", "device=cpu"]
    generate = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    workers = psutil.Process(generate.pid).children
    assert wait_for(lambda: len(workers()) >= 2, LIMIT)
    deaf = subprocess.Popen([sys.executable, "-c", DEAF], start_new_session=True, stdout=subprocess.PIPE)
    assert deaf.stdout and deaf.stdout.readline() == b"\n"
    fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    fork.start()
    ready({"pids": [generate.pid, *(child.pid for child in workers()), deaf.pid, fork.pid]})
    time.sleep(3600)


def test_tells_its_environment() -> None:
    ready({"environment": dict(os.environ), "cwd": os.getcwd(), "files": os.listdir()})


def test_leaves_a_file() -> None:
    Path("left").mkdir()
    Path("left/behind").touch()


def test_leaves_an_environment(tmp_path: Path) -> None:
    os.environ["LEFT"] = "behind"
    del os.environ["TZ"]
    os.chdir(tmp_path)


def test_finds_none_of_it() -> None:
    assert "LEFT" not in os.environ
    assert os.environ["TZ"] == "UTC"
    assert os.listdir() == []
