"""How -m cuts runs into tasks, and what it leaves to others. Pure parts; the launching is tested for real elsewhere."""

import json
from pathlib import Path

import pytest

from jobs import sweep
from jobs.attempt import Attempt
from jobs.errors import BadInput
from jobs.prepare import Prepared
from tests.jobs.support import new_run, write_prompts


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 20)}", "shard_size=2", "ngpu=2")


def tasks(prepared: list[Prepared], left: list[list[int]], launcher: str) -> list[list[int]]:
    return [task.shards for task in sweep._tasks([([], None)] * len(prepared), prepared, left, launcher)]  # type: ignore


def test_without_a_queue_there_is_one_task_a_worker(prepared) -> None:
    assert tasks([prepared], [list(range(10))], "basic") == [list(range(10))]
    assert tasks([prepared], [list(range(10))], "submitit_local") == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 9, 10, 1000])
def test_tasks_are_folded_to_fit_the_array(prepared, monkeypatch, limit) -> None:
    monkeypatch.setattr(sweep.slurm, "array_limit", lambda: limit)
    cut = tasks([prepared], [list(range(10))], "submitit_slurm")
    assert len(cut) <= limit and [shard for task in cut for shard in task] == list(range(10))
    if limit >= 10:
        assert len(cut) == 10


def test_more_runs_than_tasks_are_refused(prepared, monkeypatch) -> None:
    monkeypatch.setattr(sweep.slurm, "array_limit", lambda: 2)
    with pytest.raises(BadInput, match="3 runs and the cluster takes 2"):
        tasks([prepared] * 3, [[0]] * 3, "submitit_slurm")


@pytest.mark.parametrize(
    ("folders", "live", "queued"),
    [
        (["7", "7_0", "7_1"], {"7_1", "9"}, {"7_1": [2, 3, 4]}),
        (["7", "7_0", "7_1"], set(), {}),
        (["8"], {"8"}, {"8": [0, 1]}),  # submitit makes no array of one task
    ],
    ids=["array", "gone", "single"],
)
def test_tasks_of_earlier_launches_are_found_by_their_job_ids(prepared, folders, live, queued) -> None:
    launch = prepared.run.logs / "launch-1"
    for folder in folders:
        (launch / folder).mkdir(parents=True)
    own = str(prepared.run.path.absolute())
    (launch / "tasks.json").write_text(json.dumps([{"run": own, "shards": "0-1"}, {"run": own, "shards": "2-4"}]))
    assert sweep.queued_before(prepared.run, live) == queued


@pytest.mark.parametrize(("live", "left"), [({"5_0"}, [1]), (set(), [0, 1]), (None, [1])], ids=str)
def test_a_journal_of_a_slurm_task_counts_only_while_the_queue_lists_it(prepared, monkeypatch, live, left) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    Attempt(prepared.run, 0, fingerprint="f", device="cpu", log="")
    assert sweep._not_begun(prepared, [0, 1], {}, live) == left
