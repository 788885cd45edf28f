"""Variables of the user that would steer Slurm's programs."""

import os
from pathlib import Path

import pytest

from jobs.execute import queue, requeue
from jobs.execute.sbatch import Taken, submit
from jobs.execute.steering import to_ask, to_submit

SCRIPT = """\
#!/bin/bash
#SBATCH --array=0-3%2
#SBATCH --job-name=ours
#SBATCH --mem=12GB
#SBATCH --gres=gpu:2
#SBATCH --requeue
#SBATCH --time=30
#SBATCH -p gpu
export SBATCH_HINT=1
"""


@pytest.mark.parametrize(
    "name",
    [
        *("SBATCH_ARRAY_INX", "SBATCH_JOB_NAME", "SBATCH_TIMELIMIT", "SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"),
        *("SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_NODE", "SBATCH_GPUS", "SBATCH_GRES", "SBATCH_PARTITION"),
        *("SBATCH_WAIT", "SBATCH_DEBUG"),
    ],
)
def test_what_the_script_says_is_not_overruled(name: str) -> None:
    assert to_submit({name: "x", "HOME": "y"}, SCRIPT) == {"HOME": "y"}


@pytest.mark.parametrize("name", ["SBATCH_ACCOUNT", "SBATCH_QOS", "SBATCH_OUTPUT", "SBATCH_HINT", "SLURM_CONF", "PATH"])
def test_defaults_for_what_it_does_not_say_stay(name: str) -> None:
    assert to_submit({name: "x"}, SCRIPT) == {name: "x"}


def test_questions_are_asked_as_they_are() -> None:
    steering = ("SQUEUE_STATES", "SACCT_FORMAT", "SCANCEL_STATE", "SINFO_PARTITION", "SCONTROL_FEDERATION")
    asked = to_ask({**dict.fromkeys(steering, "x"), "SLURM_CONF": "c", "SLURM_CLUSTERS": "d"})
    assert asked == {"SLURM_CONF": "c", "SLURM_CLUSTERS": "d", "SLURM_BITSTR_LEN": "0"}


def test_the_programs_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("squeue", "scontrol", "sbatch"):
        (tmp_path / program).write_text(f"#!/bin/sh\nenv > {tmp_path}/{program}.env\necho 12\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SBATCH_JOB_NAME", "mine")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert queue.look() == [] and submit(SCRIPT, print) == Taken("12")
    requeue.job_state("7")
    for program in ("squeue", "scontrol"):
        assert "SQUEUE_STATES" not in (tmp_path / f"{program}.env").read_text()
    assert "SBATCH_JOB_NAME" not in (tmp_path / "sbatch.env").read_text()
