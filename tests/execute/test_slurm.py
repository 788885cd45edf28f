"""The launcher for Slurm where submitting does not go as planned."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.execute import slurm
from jobs.execute.fanout import _written
from jobs.execute.launches import Launch
from jobs.execute.limits import Limits
from jobs.execute.sbatch import Outcome, Refused, Taken
from jobs.execute.slurm import Slurm
from jobs.execute.submit import Submitter
from jobs.execute.task import Task
from jobs.run.run import Run
from tests.support import new_run, write_prompts

Answer = Outcome | BaseException


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 4)}", "shard_size=1")


@pytest.fixture
def submit(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Submitter]:
    """Submit four tasks in arrays of two, with these answers of sbatch."""
    monkeypatch.setattr(slurm, "read_limits", lambda settings: Limits(2, None, None))
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda self: 1)

    def call(*answers: Answer) -> Submitter:
        left = iter(answers)

        def answer(script: str, say: Callable[[str], None]) -> Outcome:
            one = next(left)
            if isinstance(one, BaseException):
                raise one
            return one

        monkeypatch.setattr("jobs.execute.submit.submit", answer)
        launcher = Slurm({"name": "a", "partition": None}, set())
        launcher._jobs, launcher._tasks = [], []
        monkeypatch.setattr(launcher, "_asked", lambda runs: {"nodes": 1})
        launch = Launch.begin([run], [Task(run, [shard], shard) for shard in range(4)])
        return launcher._submit([run], launch)

    return call


def folders(run: Run) -> list[Path]:
    return list(run.directory.logs.glob("launch-*"))


def test_what_slurm_took_is_kept_when_the_rest_fails(submit, run) -> None:
    one = submit(Taken("5"), BadInput("nobody knows"))
    assert (one.left, one.arrays, one.refusal) == ([2, 3], ["5"], "nobody knows")
    one = submit(Taken("5"), Refused("no such partition"))
    assert one.left == [2, 3] and "no such partition" in one.refusal and len(folders(run)) == 2


def test_where_nothing_was_taken_the_command_ends(submit, run) -> None:
    with pytest.raises(BadInput, match="nobody knows"):
        submit(BadInput("nobody knows"))
    assert len(folders(run)) == 1  # Slurm may have taken it all the same
    with pytest.raises(BadInput, match="no such partition"):
        submit(Refused("no such partition"))
    assert len(folders(run)) == 1


def test_an_interrupt_while_submitting_says_that_tasks_go_on(submit, run, capsys) -> None:
    with pytest.raises(SystemExit, match="130"):
        submit(Taken("5"), KeyboardInterrupt())
    said = capsys.readouterr().out
    assert "tasks that Slurm has taken go on" in said and f"jobs.cancel {run.directory.path}" in said


def test_nothing_is_written_where_no_job_may_be_submitted(run, monkeypatch) -> None:
    monkeypatch.setattr(slurm, "read_limits", lambda settings: Limits(1001, 0, 0))
    monkeypatch.setattr(slurm, "rehearse", lambda *asked: pytest.fail("there is no need to ask"))
    with pytest.raises(BadInput, match="may not submit any jobs"):
        Slurm({}, set()).check([run])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"colour": "red"}, r"hydra.launcher has no colour: give sbatch .* '\+hydra.launcher.additional_parameters={"),
        ({"array_parallelism": -3}, "array_parallelism=-3 must be at least 1, or 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(run, monkeypatch, settings, said) -> None:
    monkeypatch.setattr(slurm, "read_limits", lambda settings: Limits(1001, 9, 9))
    monkeypatch.setattr(slurm, "check_nodes", lambda asked: None)
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda self: 1)
    monkeypatch.setattr(slurm, "rehearse", lambda *asked: pytest.fail("there is no need to ask"))
    monkeypatch.setattr(Slurm, "_asked", lambda self, runs: settings)
    with pytest.raises(BadInput, match=said):
        Slurm(settings, set()).check([run])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BadInput("Slurm's queue does not answer"), "error: Slurm's queue does not answer\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/a"), "launched: /runs/a: No space left on device: "),
    ],
)
def test_what_goes_wrong_after_the_run_was_written_ends_with_code_1(error, said, capsys) -> None:
    with pytest.raises(SystemExit, match="1"), _written():
        raise error
    assert said in capsys.readouterr().err
