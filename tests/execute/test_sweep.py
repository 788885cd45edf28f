"""How -m cuts runs into tasks, and what it leaves to others. Pure parts; the launching is tested for real elsewhere."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.execute.fanout import find_unmade
from jobs.execute.launch import Here, Joblib, Launcher, Submitit
from jobs.execute.launches import InQueue, Launch, launches_of, queued_tasks
from jobs.execute.plan import Unmade, plan_tasks
from jobs.execute.queue import read_queue
from jobs.execute.slurm import Slurm
from jobs.execute.sweep import _in_name
from jobs.execute.task import Task
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.rundir import RunDir
from tests.support import generate, new_run, write_prompts


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 20)}", "shard_size=2", "ngpu=2")


def cut(launcher: Launcher, *free: tuple[Run, list[int]]) -> list[list[int]]:
    return [task.shards for task in plan_tasks([Unmade(run, shards, shards) for run, shards in free], launcher)]


def test_without_a_queue_there_is_one_task_a_worker(run) -> None:
    assert cut(Here({}, set()), (run, list(range(10)))) == [list(range(10))]
    assert cut(Submitit({}, set()), (run, list(range(10)))) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_on_a_cluster_tasks_are_of_one_run_and_of_the_size_asked_for(run) -> None:
    three = replace(run, options=replace(run.options, shards_per_task=3))
    assert cut(Slurm({}, set()), (three, [0, 2, 3, 5]), (run, [1])) == [[0, 2, 3], [5], [1]]
    one = replace(run, options=replace(run.options, ngpu=1))
    assert cut(Slurm({}, set()), (one, [0, 4])) == [[0], [4]]
    assert cut(Slurm({}, set()), (run, [0, 4, 5])) == [[0, 4], [5]]  # for its two workers


def a_launch(run: Run, name: str, *tasks: tuple[str, str], sweep: bool = False) -> Launch:
    folder = (run.directory.path.parent if sweep else run.directory.path) / "logs" / name
    folder.mkdir(parents=True)
    (folder / "tasks.json").write_text(json.dumps([{"run": run, "shards": shards} for run, shards in tasks]))
    return Launch(folder)


QUEUE = (
    "7_[0-1]|PENDING|x||my-run-launch-1.0.0\n"
    "8_0|RUNNING|x|n|my-run-launch-10.0.0\n"
    "11_0|RUNNING|x|n|my-run-launch-1.2.2\n11_[1]|PENDING|x||my-run-launch-1.2.2\n"
    "9_[0-5]|PENDING|x||my-run-launch-1-of-somebody\n10|PENDING|x||launch-1\n"
)


@pytest.mark.parametrize(
    ("name", "listing", "queued"),
    [
        ("launch-1", QUEUE, {"7_0": [0, 1], "7_1": [2, 3, 4], "11_0": [7], "11_1": [9]}),
        ("launch-10", QUEUE, {"8_0": [0, 1]}),
        ("launch-2", QUEUE, {}),
        ("launch-1", "", {}),
    ],
)
def test_tasks_of_earlier_launches_are_found_by_the_names_of_their_jobs(run, name, listing, queued) -> None:
    own = str(run.directory.path.absolute())
    a_launch(run, name, (own, "0-1"), (own, "2-4"), (own, "7"), (own, "9"))
    folders = [run.directory.path]
    tasks = queued_tasks(folders, launches_of(folders), read_queue(listing))
    assert {task.job.id: task.shards for task in tasks} == queued


def test_a_sweeps_tasks_of_other_runs_are_not_this_ones(run) -> None:
    own = str(run.directory.path.absolute())
    a_launch(run, "launch-2", ("/elsewhere", "0"), (own, "1"), sweep=True)
    folders = [run.directory.path]
    (task,) = queued_tasks(folders, launches_of(folders), read_queue("7_[0-1]|PENDING|x||a-launch-2.0.0"))
    assert (task.job.id, task.shards, task.run) == ("7_1", [1], own)


def test_a_run_is_the_same_whatever_leads_to_it(run, tmp_path, monkeypatch) -> None:
    """Under a link, and by ``..``."""
    real = run.directory.path
    (tmp_path / "link").symlink_to(real.parent)
    (tmp_path / "alone").symlink_to(real)
    spellings = [real, tmp_path / "link" / real.name, real / ".." / real.name, tmp_path / "alone"]
    linked = replace(run, directory=RunDir(spellings[1]))
    launch = Launch.begin([linked], [Task(linked, [0], 0), Task(linked, [1], 1)])
    listing = f"7_[0-1]|PENDING|x||{launch.job_name('a')}\n"
    monkeypatch.chdir(real)
    for path in (*spellings, Path("../") / real.name):
        tasks = list(queued_tasks([path], launches_of([path]), read_queue(listing)))
        assert [task.shards for task in tasks] == [[0], [1]]
        (unmade,) = find_unmade([replace(run, directory=RunDir(path))], InQueue(tasks, None))
        assert unmade.free[0] == 2


def test_a_commands_own_launch_is_found_as_it_has_it(run, tmp_path) -> None:
    (tmp_path / "link").symlink_to(run.directory.path.parent)
    path = tmp_path / "link" / run.directory.path.name
    launch = Launch.begin([replace(run, directory=RunDir(path))], [Task(run, [0], 0)])
    assert launches_of([path]) == {launch.folder.name: launch}


def test_only_one_array_gets_the_tasks_of_a_submission(run) -> None:
    launch = a_launch(run, "launch-1")
    assert [launch.claim(0, "12"), launch.claim(0, "13"), launch.claim(0, "12"), launch.claim(1, "13")] == [
        *(True, False, True, True)
    ]


def test_what_was_submitted_without_an_answer_is_remembered(run) -> None:
    launch = a_launch(run, "launch-1")
    for serial in range(3):
        launch.about_to_submit(serial, f"#!/bin/sh\n#SBATCH --job-name=a.{serial}\n")
    launch.answered(0, "taken: 12")
    launch.claim(1, "13")  # it runs
    assert launch.unanswered() == [2] and launch.sent_name(2) == "a.2"
    launch.answered(2, "lost")
    launch.about_to_submit(2, "again")
    assert launch.unanswered() == [2]


@pytest.mark.parametrize(
    ("jobs", "free"), [({"5_0"}, [1]), (set(), [0, 1]), (None, [1])], ids=["queued", "gone", "no queue"]
)
def test_a_journal_of_a_slurm_task_counts_only_while_the_queue_lists_it(run, monkeypatch, jobs, free) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    Attempt(run.directory, 0, fingerprint="f", device="cpu", log="")
    (unmade,) = find_unmade([run], InQueue([], jobs))
    assert unmade.free[:2] == [*free, *range(2, 10)][:2] and unmade.asked == list(range(10))


class Deadly:
    """In place of a task: kills its process."""

    def __call__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_of_joblib_is_a_problem_and_no_traceback(run) -> None:
    wait = Joblib({"n_jobs": 2}, set()).start([Unmade(run, [], [])], [Deadly(), Deadly()], None)  # type: ignore[list-item]
    (problem,) = wait()
    assert problem.startswith("a task has no result: TerminatedWorkerError")


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


@pytest.mark.slow
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
