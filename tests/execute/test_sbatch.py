"""What sbatch says, understood. The texts are Slurm 22.05's."""

import os
from pathlib import Path

import pytest

from jobs.execute.sbatch import Full, Outcome, Refused, Taken, Unheard, read_refusal, rehearse, sent_by, submit

POLICY = (
    "sbatch: error: {}\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)\n"
)
FAILED = "sbatch: error: Batch job submission failed: {}\n"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (POLICY.format("QOSMaxSubmitJobPerUserLimit"), Full),
        (POLICY.format("QOSGrpSubmitJobsLimit"), Full),
        (POLICY.format("MaxSubmitJobsPerAccount"), Full),
        (POLICY.format("AssocMaxSubmitJobLimit"), Full),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n", Full),
        ("sbatch: error: Slurm job queue full, sleeping and retrying\n", Full),
        ("sbatch: error: Job creation temporarily disabled, retrying\n", Full),
        (FAILED.format("Unable to create job record, try again"), Full),
        (POLICY.format("QOSMaxCpuPerUserLimit"), Refused),  # the general sentence alone never means that it is full
        (POLICY.format("QOSMaxWallDurationPerJobLimit"), Refused),
        (FAILED.format("Job violates accounting/QOS policy (job submit limit, ...)"), Refused),
        (FAILED.format("Invalid qos specification"), Refused),
        ("", Refused),
        (FAILED.format("Socket timed out on send/recv operation"), Unheard),
        (FAILED.format("Unable to contact slurm controller (connect failure)"), Unheard),
        (FAILED.format("Zero Bytes were transmitted or received"), Unheard),
    ],
)
def test_full_is_told_from_refused_and_from_no_answer(said: str, kind: type[Outcome]) -> None:
    assert isinstance(read_refusal(1, said), kind)


def test_no_end_within_the_time_is_no_answer() -> None:
    assert read_refusal(None, "") == Unheard("no answer")


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("invalid partition specified: nope: Invalid partition name specified", "hydra.launcher.partition=gpu"),
        ("Invalid qos specification", "hydra.launcher.qos=fast"),
        ("QOSMaxWallDurationPerJobLimit", "hydra.launcher.timeout_min=90, hydra.launcher.qos=fast"),
        ("Invalid feature specification", ""),  # nothing of that kind is set
        ("something nobody has seen", ""),
    ],
)
def test_a_refusal_names_the_options_that_sent_it(said: str, options: str) -> None:
    settings = {"partition": "gpu", "account": None, "qos": "fast", "timeout_min": 90, "constraint": None}
    assert sent_by(said, settings) == options


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program in sbatch's place."""

    def put(script: str) -> None:
        (tmp_path / "sbatch").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "sbatch").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return put


def test_the_script_is_given_and_the_id_read(sbatch) -> None:
    sbatch('[ "$1" = --parsable ] && [ "$(cat)" = text ] && echo "12;cluster"')
    assert submit("text", print) == Taken("12")


@pytest.mark.parametrize(
    "said",
    [
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Slurm job queue full, sleeping and retrying",
        "Job creation temporarily disabled, retrying",
    ],
)
def test_one_that_keeps_retrying_is_ended(sbatch, said) -> None:
    sbatch(f"echo 'sbatch: error: {said}' >&2; exec sleep 600")
    assert isinstance(submit("text", print), Full)


def test_one_that_gives_no_answer_is_told_of_and_ended(sbatch, monkeypatch) -> None:
    monkeypatch.setattr("jobs.execute.sbatch.SLOW", 0.2)
    monkeypatch.setattr("jobs.execute.sbatch.ANSWER", 1.5)
    sbatch("exec sleep 600")
    said: list[str] = []
    assert isinstance(submit("text", said.append), Unheard)
    assert said == ["Slurm's controller has not answered sbatch yet: waiting for it"]


@pytest.mark.parametrize(
    ("script", "refused"),
    [
        ("echo 'sbatch: Job 8 to start at 3047-09-05T11:25:55' >&2", False),
        ("echo 'allocation failure: Invalid qos specification' >&2; exit 1", True),
        # also where all nodes are down, which sbatch itself takes
        ("echo 'allocation failure: Requested node configuration is not available' >&2; exit 1", False),
        ("echo 'allocation failure: Unable to contact slurm controller (connect failure)' >&2; exit 1", False),
        ("echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1", False),
    ],
)
def test_only_what_is_refused_for_good_counts_in_a_rehearsal(sbatch, script: str, refused: bool) -> None:
    sbatch(script)
    assert isinstance(rehearse("text", print), Refused) is refused
