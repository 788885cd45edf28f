"""The wait for tasks in the queue, by what the queue and the disk show from one look to the next."""

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.cancel import outcome
from jobs.execute import queue, waiting
from jobs.execute.begun import begun, mark_begun
from jobs.execute.doubt import was_taken
from jobs.execute.launches import Launch, Queued, avoided_by
from jobs.execute.limits import Limits
from jobs.execute.plan import Unmade
from jobs.execute.sbatch import Full, Taken
from jobs.execute.submit import Submitter
from jobs.execute.task import Task
from jobs.execute.waiting import Wait
from jobs.report.live import Display
from jobs.run.run import Run
from jobs.store.rundir import RunDir
from tests.support import new_run, write_prompts

SHARDS = 4
Look = str | Callable[[], str | None] | None


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("QUEUE", "POLL"):
        monkeypatch.setattr(waiting, name, 0.001)
    monkeypatch.setattr(waiting, "BLOCKED", 0.0)
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', SHARDS)}", "shard_size=1")


class Cluster:
    """Slurm's answers, one look after another; the last one stays."""

    def __init__(self, looks: list[Look], ended: str = ""):
        self.looks, self.ended, self.asked = looks, ended, []

    def __call__(self, *command: str, within: float = 0) -> str | None:
        self.asked.append(command[0])
        if command[0] == "sinfo":
            return "node1 dev*\nnode2 dev*\n"
        if command[0] != "squeue":
            return self.ended if command[0] == "scontrol" else None
        answer = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return answer() if callable(answer) else answer


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    def put(*looks: Look, ended: str = "") -> Cluster:
        cluster = Cluster(list(looks), ended)
        monkeypatch.setattr(queue, "ask", cluster)
        return cluster

    return put


def launched(run: Run) -> Launch:
    return Launch.begin([run], [Task(run, [shard], shard) for shard in range(SHARDS)])


def lines(launch: Launch, state: str = "RUNNING", tasks: str = "0-3", reason: str = "None", serial: int = 0) -> str:
    node = "node1" if state == "RUNNING" else "n/a"
    return f"{5 + serial}_[{tasks}]|{state}|{reason}|{node}|{launch.job_name('a', serial)}\n"


def make(run: Run, *shards: int) -> None:
    for shard in shards:
        run.directory.tar(shard).touch()
        run.directory.done_record(shard).write_text(json.dumps({"failed": []}))


def wait(run: Run, submitter: Submitter | None = None) -> list[str]:
    return Wait([Unmade(run, list(range(SHARDS)), [])], submitter, Display()).until_done()


def failed(*tasks: int, node: str = "node1", array: int = 5) -> str:
    return "".join(
        f"JobId=1 ArrayJobId={array} ArrayTaskId={task} JobState=FAILED Reason=None ExitCode=9:0 NodeList={node}\n"
        for task in tasks
    )


def test_one_look_without_an_answer_ends_nothing(run, slurm, capsys) -> None:
    launch = launched(run)
    slurm(lines(launch), None, None, lambda: make(run, *range(SHARDS)) or lines(launch))
    assert wait(run) == []
    said = capsys.readouterr().out
    assert said.count("does not answer (squeue): waiting for it") == 1 and "it answers again" in said


def test_tasks_that_are_gone_are_told_with_slurms_word(run, slurm) -> None:
    launch = launched(run)
    (launch.folder / "5_1_0_log.err").write_text("boom\n")
    cluster = slurm(lines(launch), lambda: make(run, 0, 2, 3) or "", ended=failed(1))
    (problem,) = wait(run)
    assert problem.startswith("task 5_1: FAILED 9:0 on node1: boom [")
    assert cluster.asked.count("squeue") == 3 and cluster.asked.count("scontrol") == 1


def test_a_task_on_its_way_back_into_the_queue_has_not_ended(run, slurm) -> None:
    launch = launched(run)
    pending = failed(0, 1, 2, 3).replace("FAILED", "PENDING")
    slurm(
        *(lines(launch), "", lines(launch, "PENDING", reason="BeginTime")),
        lambda: make(run, *range(SHARDS)) or lines(launch),
        ended=pending,
    )
    assert wait(run) == []


def test_what_will_never_start_ends_the_wait(run, slurm) -> None:
    launch = launched(run)
    slurm(lines(launch, tasks="0"), lines(launch, "PENDING", reason="PartitionTimeLimit"))
    (problem, *_) = wait(run)
    assert problem.startswith("4 tasks will not start (PartitionTimeLimit): the partition has a shorter time limit")


def test_a_reason_that_passes_within_minutes_ends_nothing(run, slurm, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(waiting, "BLOCKED", 120.0)
    stopped = SimpleNamespace(
        monotonic=lambda: clock[0], sleep=lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    monkeypatch.setattr(waiting, "time", stopped)
    monkeypatch.setattr(waiting, "QUEUE", 10.0)
    monkeypatch.setattr(waiting, "POLL", 3.0)
    launch = launched(run)
    held, free = (lines(launch, "PENDING", reason=reason) for reason in ("JobHeldAdmin", "Priority"))
    slurm(
        *[held] * 11, free, *[held] * 11, *[None] * 20, *[held] * 11, lambda: make(run, *range(SHARDS)) or lines(launch)
    )
    assert wait(run) == []
    shutil.rmtree(run.directory.done)
    run.directory.done.mkdir()
    begun_at = clock[0]
    slurm(held)
    assert wait(run)[0].startswith("4 tasks will not start (JobHeldAdmin)")
    assert 120 < clock[0] - begun_at < 150


def test_a_directory_out_of_sight_for_a_moment_is_waited_for(run, slurm, monkeypatch, capsys) -> None:
    """No tasks are buried meanwhile; and a disk that fails is one sentence."""
    launch = launched(run)
    seen = iter([False, OSError(errno.ESTALE, "Stale file handle", "/runs"), False, True, False])

    def exists(self) -> bool:
        answer = next(seen, True)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(RunDir, "exists", exists)
    cluster = slurm(lines(launch), lambda: make(run, *range(SHARDS)) or "")
    assert wait(run) == []
    said = capsys.readouterr().out
    assert "run.json: it is not there: waiting for it" in said and "/runs: Stale file handle: waiting for it" in said
    assert cluster.asked == ["squeue", "squeue"]


def test_twins_of_what_is_done_are_not_waited_for(run, slurm, capsys) -> None:
    launch = launched(run)
    make(run, *range(SHARDS))
    slurm(lines(launch, "PENDING", "0-1", "BeginTime"))
    assert wait(run) == []
    assert "every shard is done; 2 tasks are still in the queue" in capsys.readouterr().out


def test_a_directory_that_is_taken_away_is_one_sentence(run, slurm, capsys) -> None:
    launch = launched(run)
    slurm(lines(launch), lambda: shutil.rmtree(run.directory.path) or "")
    with pytest.raises(SystemExit, match="1"):
        wait(run)
    assert f"error: {run.directory.path} was taken away" in capsys.readouterr().out


def test_an_interrupt_says_that_the_tasks_go_on(run, slurm, capsys) -> None:
    launch = launched(run)
    slurm(lines(launch), lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit, match="130"):
        wait(run)
    assert "the tasks go on without this command" in capsys.readouterr().out


# With tasks to be submitted.


@pytest.fixture
def sbatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Takes every array, as number 5, 6, ..."""
    texts: list[str] = []

    def take(text: str, say: Callable[[str], None]) -> Taken:
        texts.append(text)
        return Taken(str(4 + len(texts)))

    monkeypatch.setattr("jobs.execute.submit.submit", take)
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda self: 1)
    yield texts


def submitter(launch: Launch, places: int | None, most: int | None = None) -> Submitter:
    limits = Limits(1001, places, most or places)
    return Submitter(launch, {"nodes": 1}, label="a", limits=limits, there=0, avoid=[], say=print)


def test_the_rest_is_submitted_when_places_are_free(run, slurm, sbatch) -> None:
    launch = launched(run)
    one = submitter(launch, 2)
    one.fill([], [])
    assert one.left == [2, 3]
    slurm(
        lines(launch, tasks="0-1"),
        lambda: make(run, 0, 1) or "",
        lambda: f"6_[0-1]|RUNNING|None|node1|{launch.job_name('a', 1, 2)}\n",
        lambda: make(run, 2, 3) or "",
    )
    assert wait(run, one) == []
    assert [text.split("--array=")[1].split()[0] for text in sbatch] == ["0-1%2", "0-1%2"]


def test_what_another_command_submitted_is_not_submitted_again(run, slurm, sbatch) -> None:
    launch, other = launched(run), launched(run)
    one = submitter(launch, 2)
    one.fill([], [])
    both = lines(launch, tasks="0-1") + lines(other, "PENDING", "2-3", "Resources", serial=3)
    slurm(both, both, lambda: make(run, *range(SHARDS)) or "")
    assert wait(run, one) == [] and one.left == [] and len(sbatch) == 1


def test_after_a_cancelling_nothing_more_is_submitted(run, slurm, sbatch, monkeypatch) -> None:
    launch = launched(run)
    one = submitter(launch, 2)
    one.fill([], [])
    monkeypatch.setattr(Display, "show", lambda *shown: run.directory.cancelled() or run.directory.cancel())
    slurm(lines(launch, tasks="0-1"), "", ended=failed(0, 1))
    problems = wait(run, one)
    assert problems == [f"{run.directory.path} was cancelled (python -m jobs.cancel)"]
    assert len(sbatch) == 1 and one.left == []


def test_a_bad_node_is_left_out_and_what_died_there_is_submitted_again(run, slurm, sbatch, capsys) -> None:
    launch = launched(run)
    one = submitter(launch, None)
    one.fill([], [])
    again = f"6_[0-3]|RUNNING|None|node2|{launch.job_name('a', 1)}\n"
    cluster = slurm("", "", again, lambda: make(run, *range(SHARDS)) or again, ended=failed(0, 1, 2, 3))
    assert wait(run, one) == []
    assert [("--exclude=node1" in text, "--array=0-3%4" in text) for text in sbatch] == [(False, True), (True, True)]
    assert "no more tasks go there (hydra.launcher.exclude=node1" in capsys.readouterr().out
    assert launch.avoided() == ["node1"]
    assert cluster.asked.count("squeue") == 4


def test_nodes_that_earlier_launches_avoid_are_not_avoided_anew(run, slurm, sbatch) -> None:
    launch = launched(run)
    one = submitter(launch, None)
    one.exclude = ["node7"]
    slurm("")
    for node in ("node1", "node2"):
        one.keep_away(node)
    assert launch.avoided() == ["node1", "node2"] and one.exclude == ["node7", "node1", "node2"]


@pytest.mark.parametrize("state", ["CANCELLED", "PREEMPTED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "COMPLETED"])
def test_ends_that_are_no_nodes_fault_count_against_none(run, slurm, sbatch, state) -> None:
    launch = launched(run)
    one = submitter(launch, None)
    one.fill([], [])
    slurm("", ended=failed(0, 1, 2, 3).replace("FAILED", state))
    wait(run, one)
    assert len(sbatch) == 1 and launch.avoided() is None and one.exclude == []


def test_tasks_that_came_to_their_work_count_against_no_node(run, slurm, sbatch, monkeypatch) -> None:
    launch = launched(run)
    one = submitter(launch, None)
    one.fill([], [])
    monkeypatch.setenv("SUBMITIT_FOLDER", str(launch.folder))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    for task, node in ((0, "node1"), (1, "node1"), (2, "node2")):  # the last of them before it was queued again
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        monkeypatch.setenv("SLURMD_NODENAME", node)
        mark_begun()
    slurm("", ended=failed(0, 2, 1, 3))
    wait(run, one)
    assert len(sbatch) == 1 and launch.avoided() is None
    assert begun(launch.folder) == {("5_0", "node1"), ("5_1", "node1"), ("5_2", "node2")}


def test_where_all_nodes_are_bad_nothing_more_is_submitted(run, slurm, sbatch) -> None:
    launch = launched(run)
    one = submitter(launch, None)
    one.fill([], [])
    ends = failed(0, 1, 2, 3) + failed(0, 1, 2, 3, node="node2", array=6)
    slurm("", ended=ends)
    said, *_ = wait(run, one)
    assert said == "tasks end before they begin anything, on node1 and node2 alike: nothing more is submitted"
    assert len(sbatch) == 2 and launch.avoided() == []


def test_places_that_others_leave_free_are_found(run, sbatch, monkeypatch) -> None:
    """A limit of an account or a QOS counts jobs that our own queue does not show."""
    clock, limits = [0.0], Limits(1001, 0, 40)
    monkeypatch.setattr("jobs.execute.submit.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("jobs.execute.submit.read_limits", lambda settings: limits)
    one = submitter(launched(run), 0, 40)
    for clock[0] in range(0, 900, 10):
        one.fill([], [])
    assert sbatch == [] and one.full == "40 jobs may be in the queue"
    limits = Limits(1001, 40, 40)
    for clock[0] in range(900, 1300, 10):
        one.fill([], [])
    assert len(sbatch) == 1 and one.left == []


def test_what_slurm_took_is_known_though_the_disk_is_full(run, sbatch, monkeypatch) -> None:
    def full(*what: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Launch, "answered", full)
    one = submitter(launched(run), 2)
    one.fill([], [])
    assert one.left == [2, 3] and one.arrays == ["5"] and one.launch.unanswered() == [0]


def test_an_array_whose_task_has_begun_was_taken(run, slurm) -> None:
    launch = launched(run)
    launch.about_to_submit(0, f"#SBATCH --job-name={launch.job_name('a')}\n")
    slurm(None)  # though Slurm does not answer now
    assert launch.claim(0, "5") and was_taken(launch, 0, print)


def test_nodes_that_any_launch_of_the_day_found_bad_are_avoided(run) -> None:
    launches = [launched(run) for _ in range(4)]
    assert avoided_by(launches) == []
    launches[0].avoid(["n1"])
    launches[2].avoid(["n2", "n1"])
    assert avoided_by(launches) == ["n1", "n2"]
    launches[1].avoid([])  # it was not the nodes
    launches[2].avoid(["n2"])
    assert avoided_by(launches) == ["n2"]
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(launches[2].folder / "avoid.json", (long_ago, long_ago))
    assert avoided_by(launches) == []


def cancelled(left: int, said: str) -> str:
    tasks = [
        Queued(Launch(Path("l")), 0, number, queue.Job("1", number, state, "None", "", None, "n"))
        for number, state in enumerate(["PENDING", "PENDING", "RUNNING"])
    ]
    return outcome(Path("run"), tasks, left, said)


def test_what_is_said_of_a_cancelling() -> None:
    assert cancelled(0, "") == "run: cancelled 2 pending and 1 running tasks"
    assert cancelled(0, "already completed") == cancelled(0, "")  # one of them had ended by itself
    assert cancelled(1, "").endswith("running tasks; 1 of them are still in the queue, on their way out")
    assert cancelled(3, "scancel gave no answer") == "run: 3 of 3 tasks are still in the queue: scancel gave no answer"


def test_a_full_queue_is_tried_less_and_less_often(run, monkeypatch) -> None:
    tries: list[float] = []
    monkeypatch.setattr("jobs.execute.submit.submit", lambda text, say: tries.append(0) or Full("MaxSubmitJobs"))
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda self: 1)
    clock = [0.0]
    monkeypatch.setattr("jobs.execute.submit.time", SimpleNamespace(monotonic=lambda: clock[0]))
    one = submitter(launched(run), None)
    at = []
    while clock[0] < 1000:
        before = len(tries)
        one.fill([], [])
        at += [clock[0]] if len(tries) > before else []
        clock[0] += 5
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert gaps == sorted(gaps) and gaps[-1] >= 300 and one.full == "MaxSubmitJobs"
    assert len(tries) == 3 * len(at)  # four tasks, two, one
