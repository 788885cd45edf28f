"""The commands beside ``jobs.generate`` where Slurm or the disk does not do its part."""

import errno
import sys
from pathlib import Path

import pytest

from jobs import cancel, status
from jobs.execute import queue
from jobs.execute.launches import InQueue, Launch, Queued
from jobs.execute.queue import Job
from jobs.execute.task import Task
from jobs.run.run import Run
from jobs.store.rundir import RunDir
from tests.support import new_run, write_prompts


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    run = new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 2)}", "shard_size=1")
    monkeypatch.setattr(sys, "argv", ["", str(run.directory.path)])
    return run


def full(*what: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/runs/a")


@pytest.mark.parametrize("place", [(RunDir, "cancel"), (cancel, "submitting")], ids=["word", "lock"])
def test_a_full_disk_keeps_nobody_from_cancelling(run, monkeypatch, capsys, place) -> None:
    launch = Launch.begin([run], [Task(run, [0], 0)])
    tasks = [Queued(launch, 0, 0, Job("5", 0, "RUNNING", "None", "n", None, "a"))]
    cancelled: list[Queued] = []
    monkeypatch.setattr(queue, "require", lambda: None)
    monkeypatch.setattr(cancel, "find_out", lambda runs, say: ([], InQueue(tasks, set())))
    monkeypatch.setattr(cancel, "_scancel", lambda found: cancelled.extend(found) or "")
    monkeypatch.setattr(cancel, "_left", lambda run, found: 0)
    monkeypatch.setattr(*place, full)
    with pytest.raises(SystemExit, match="0"):
        cancel.main()
    said = capsys.readouterr().out
    assert cancelled == tasks and "cancelled 0 pending and 1 running tasks" in said
    assert "/runs/a: No space left on device: a command that waits for this run cannot be told" in said


def test_what_the_files_tell_is_shown_before_slurm_is_asked(run, monkeypatch, capsys) -> None:
    Launch.begin([run], [Task(run, [0], 0)])
    shown: list[str] = []

    def silent(*command: str, within: float = 1e9) -> None:
        assert command[0] == "squeue" and within <= status.BRIEF
        shown.append(capsys.readouterr().out)

    monkeypatch.setattr(queue, "ask", silent)
    monkeypatch.setattr(status.shutil, "which", lambda program: program)
    with pytest.raises(SystemExit, match="1"):
        status.main()
    assert len(shown) == 1 and "0 of 2 samples" in shown[0]
    assert capsys.readouterr().out == "  queue    Slurm does not answer\n"
