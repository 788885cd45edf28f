"""How -m cuts runs into tasks, and what it leaves to others. Pure parts; the launching is tested for real elsewhere."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from jobs.base.errors import BadInput
from jobs.execute import queue
from jobs.execute.launch import Here, Joblib, Slurm, Submitit
from jobs.execute.launches import Launch
from jobs.execute.plan import Unmade, plan_tasks
from jobs.execute.sweep import _find_unmade, _in_name
from jobs.execute.task import Task
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from tests.support import generate, new_run, write_prompts

KINDS = {"basic": Here, "submitit_local": Submitit, "submitit_slurm": Slurm}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 20)}", "shard_size=2", "ngpu=2")


def tasks(runs: list[Run], free: list[list[int]], launcher: str) -> list[list[int]]:
    unmade = [Unmade(run, shards, shards, set()) for run, shards in zip(runs, free, strict=True)]
    return [task.shards for task in plan_tasks(unmade, KINDS[launcher]({}, set()))]


def test_without_a_queue_there_is_one_task_a_worker(run) -> None:
    assert tasks([run], [list(range(10))], "basic") == [list(range(10))]
    assert tasks([run], [list(range(10))], "submitit_local") == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 9, 10, 1000])
def test_tasks_are_folded_to_fit_the_array(run, monkeypatch, limit) -> None:
    monkeypatch.setattr(queue, "array_limit", lambda: limit)
    cut = tasks([run], [list(range(10))], "submitit_slurm")
    assert len(cut) <= limit and [shard for task in cut for shard in task] == list(range(10))
    if limit >= 10:
        assert len(cut) == 10


def test_more_runs_than_tasks_are_refused(run, monkeypatch) -> None:
    monkeypatch.setattr(queue, "array_limit", lambda: 2)
    with pytest.raises(BadInput, match="3 runs and the cluster takes 2"):
        tasks([run] * 3, [[0]] * 3, "submitit_slurm")


NAMES = {"7_0": "my-run-launch-1", "7_1": "my-run-launch-1", "8": "my-run-launch-10", "9": "something else"}


@pytest.mark.parametrize(
    ("launch", "names", "queued"),
    [
        ("launch-1", NAMES, {"7_0": [0, 1], "7_1": [2, 3, 4]}),
        ("launch-1", {}, {}),
        ("launch-10", NAMES, {"8": [0, 1]}),  # submitit makes no array of one task
    ],
    ids=["array", "gone", "single"],
)
def test_tasks_of_earlier_launches_are_found_by_the_names_of_their_jobs(run, launch, names, queued) -> None:
    folder = run.directory.logs / launch
    folder.mkdir(parents=True)
    own = str(run.directory.path.absolute())
    tasks = [{"run": own, "shards": "0-1"}, {"run": own, "shards": "2-4"}]
    (folder / "tasks.json").write_text(json.dumps(tasks))
    assert Launch(folder).queued(run, names) == queued


def test_a_sweeps_tasks_of_other_runs_are_not_this_ones(run) -> None:
    folder = run.directory.path.parent / "logs" / "launch-2"
    folder.mkdir(parents=True)
    tasks = [{"run": "/elsewhere", "shards": "0"}, {"run": str(run.directory.path.absolute()), "shards": "1"}]
    (folder / "tasks.json").write_text(json.dumps(tasks))
    assert Launch(folder).queued(run, {"7_0": "a-launch-2", "7_1": "a-launch-2"}) == {"7_1": [1]}


@pytest.mark.parametrize(
    ("names", "free"), [({"5_0": "job"}, [1]), ({}, [0, 1]), (None, [1])], ids=["queued", "gone", "no answer"]
)
def test_a_journal_of_a_slurm_task_counts_only_while_the_queue_lists_it(run, monkeypatch, names, free) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    Attempt(run.directory, 0, fingerprint="f", device="cpu", log="")
    monkeypatch.setattr(queue, "queued_jobs", lambda: names)
    (unmade,) = _find_unmade([run], Slurm({}, set()))
    assert unmade.free[:2] == [*free, *range(2, 10)][:2] and unmade.asked == list(range(10))


class Deadly:
    """In place of a task: kills its process."""

    def __call__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_of_joblib_is_a_problem_and_no_traceback(run) -> None:
    (problem,) = Joblib({"n_jobs": 2}, set()).run([run], [Deadly(), Deadly()], None, set())  # type: ignore[list-item]
    assert problem.startswith("a task has no result: TerminatedWorkerError")


def test_what_sbatch_refuses_is_a_problem_and_no_traceback(run, monkeypatch, tmp_path) -> None:
    (tmp_path / "bin").mkdir()
    for name, script in (
        ("sbatch", "echo 'sbatch: error: invalid partition specified: nope' >&2; exit 1"),
        ("srun", ""),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    settings = {"nodes": 1, "setup": None, "partition": "nope", "timeout_min": 5}
    task = Task(run, [0], 0)
    (problem,) = Slurm(settings, set()).run([run], [task], Launch.begin([run], [task]), set())
    assert problem.startswith("nothing was submitted: ") and "invalid partition specified: nope" in problem


def test_a_sweep_asks_for_the_gpus_of_the_run_that_needs_most(run, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("jobs.execute.launch.submission", lambda *given: asked.append(given) or {})
    monkeypatch.setattr("submitit.AutoExecutor", MagicMock())
    model = replace(run.options.model, gpus=4)
    other = replace(run, options=replace(run.options, model=model))
    tasks = [Task(run, [0], 0), Task(other, [1], 1)]
    Slurm({}, set())._submit(tasks, Launch.begin([run], tasks))
    assert asked[0][3] == 4


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("algo.w=0.5", "algo.w=0.5"),
        ("prompt_file='a/b c.txt'", "prompt_file=a_b_c.txt"),
        ("negative_prompt='it\\'s'", "negative_prompt=it_s"),
        ("negative_prompt=null", "negative_prompt=null"),
        ("negative_prompt='" + "long " * 99 + "'", "negative_prompt=long_long_long_long_long_long_l-2b8650a0"),
    ],
)
def test_the_name_of_a_swept_run_is_a_name_of_a_directory(option: str, name: str) -> None:
    assert _in_name(option) == name


def test_texts_are_swept_as_they_are(tmp_path, monkeypatch) -> None:
    write_prompts(tmp_path / "it's, 1.txt", 1)
    monkeypatch.chdir(tmp_path)
    words = ['prompt_file="it\'s, 1.txt"', "output_base_path=it's", "negative_prompt=choice('a, b', 1e3)"]
    ended = generate("-m", *words, "exp_name=7e1", "num_inference_steps=4", "dry_run=true")
    assert not ended.returncode, ended.stderr
    assert [line.partition(":")[0] for line in ended.stdout.splitlines() if line.startswith("it's")] == [
        "it's/7e1--negative_prompt=a,_b",
        "it's/7e1--negative_prompt=1e3",
    ]
