"""A task's way back into the queue, with programs in scontrol's place that answer as Slurm 22.05 does."""

import time
from pathlib import Path

import pytest

from jobs.execute.requeue import requeue

SHOW = '[ "$1" = show ] && {{ echo "JobId=7 ArrayJobId=7 ArrayTaskId=3 JobState={state} Reason=None"; exit 0; }}\n'


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program in scontrol's place: it knows the job's state, and then does as told."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)

    def make(state: str, then: str) -> Path:
        program = tmp_path / "scontrol"
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{SHOW.format(state=state)}{then}\n')
        program.chmod(0o755)
        return tmp_path / "asked"

    return make


def test_a_job_is_queued_again_by_its_own_id(scontrol) -> None:
    asked = scontrol("RUNNING", "exit 0")
    assert requeue(None) == ""
    assert asked.read_text().splitlines() == ["show job --oneliner 7_3", "requeue 7_3"]


def test_a_job_at_its_time_limit_too(scontrol) -> None:
    scontrol("TIMEOUT", "exit 0")
    assert requeue(None) == ""


@pytest.mark.parametrize(("state", "answer"), [("CANCELLED", "somebody ended the job"), ("PENDING", "")])
def test_who_cancelled_or_requeued_a_job_has_the_last_word(scontrol, state: str, answer: str) -> None:
    asked = scontrol(state, "exit 0")
    assert requeue(None).startswith(answer)
    assert "requeue" not in asked.read_text()


def test_where_it_is_not_allowed_that_is_said_at_once(scontrol) -> None:
    asked = scontrol("RUNNING", 'echo "Requested operation is presently disabled for job 7" >&2; exit 1')
    assert requeue(None) == "scontrol requeue 7_3: Requested operation is presently disabled for job 7"
    assert asked.read_text().count("requeue") == 1


def test_a_controller_that_is_away_is_asked_again(scontrol, tmp_path: Path) -> None:
    away = "Unable to contact slurm controller (connect failure)"
    asked = scontrol("RUNNING", f'[ -e {tmp_path}/back ] || {{ touch {tmp_path}/back; echo "{away}" >&2; exit 1; }}')
    assert requeue(None) == ""
    assert asked.read_text().count("requeue") == 2
    scontrol("RUNNING", f'echo "{away}" >&2; exit 1')
    assert requeue(time.time() - 1) == f"scontrol requeue 7_3: {away}"  # no longer than the task lives


def test_without_scontrol_or_a_cluster_it_says_so(monkeypatch, tmp_path: Path) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert requeue(None) == "no cluster can queue it again"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requeue(None).startswith("there is no scontrol here")
