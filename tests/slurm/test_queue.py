"""Submitting, waiting and cancelling on a real Slurm. Its tasks are held, or die before they load anything."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.execute import doubt, queue
from jobs.execute.inqueue import find_out
from jobs.execute.launches import Launch, launches_of, queued_tasks
from jobs.execute.limits import Limits, read_limits
from jobs.execute.machines import Machine, largest_machine
from jobs.execute.submit import Submitter
from jobs.execute.task import Task
from jobs.run.run import Run
from tests import warm
from tests.support import command, new_run, write_prompts
from tools.slurm import Cluster
from tools.slurm.conf import CPUS_PER_NODE, GPUS_PER_NODE, NODES
from tools.slurm.processes import wait_for

HELD = "+hydra.launcher.additional_parameters.hold=true"


@pytest.fixture(autouse=True)
def clean(slurm_env: Cluster) -> Iterator[None]:
    """Leave nothing in the queue."""
    yield
    slurm_env.run("scancel", "--me")


def launch(folder: Path, *options: str, **more: str) -> subprocess.Popen[str]:
    words = ("-m", "hydra/launcher=submitit_slurm", f"output_base_path={folder}", "exp_name=run", *options)
    return warm.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **more}
    )


def ended(process: subprocess.Popen[str], code: int) -> str:
    """Wait for a command, and return what it said."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, output + errors
    assert "Traceback" not in output + errors
    return output + errors


def in_queue() -> list[queue.Job]:
    jobs = queue.look()
    assert jobs is not None
    return jobs


def ask(module: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return warm.run(command(*map(str, words), module=module), timeout=120)


@pytest.mark.timeout(600)
def test_many_tasks_are_submitted_once_seen_again_and_cancelled(slurm_env: Cluster, tmp_path: Path) -> None:
    """More than an array takes; two commands at once; nothing of it ever starts. Variables steer nothing."""
    prompts = tmp_path / "many.txt"
    prompts.write_text("a red circle on a white background\n" * 1100)
    options = (f"prompt_file={prompts}", "shard_size=1", "shards_per_task=1", HELD)
    steering = {"SQUEUE_STATES": "RUNNING", "SBATCH_JOB_NAME": "mine", "SBATCH_TIMELIMIT": "1"}
    two = [launch(tmp_path, *options, "wait=false", **steering) for _ in range(2)]
    said = [ended(process, 0) for process in two]
    assert sorted("launching 1100 tasks" in text for text in said) == [False, True]
    assert any("1100 tasks of an earlier command are still in the queue" in text for text in said)

    run = tmp_path / "run"
    tasks = list(queued_tasks([run], launches_of([run]), in_queue()))
    assert sorted(shard for task in tasks for shard in task.shards) == list(range(1100))
    assert len({task.job.array for task in tasks}) == 2

    waited = ended(launch(tmp_path, *options, JOBS_PATIENCE="0.25"), 1)  # it waits for minutes, times that
    assert "launching" not in waited and len(list(run.glob("logs/launch-*"))) == 1
    assert "1100 tasks will not start (JobHeldUser): they are held" in waited
    assert "nothing came of this command" in waited and len(in_queue()) == 1100
    status = ask("jobs.status", run).stdout
    assert "1,100 pending (JobHeldUser)" in status and "blocked  1100 tasks" in status

    cancelled = ask("jobs.cancel", run)
    assert (cancelled.returncode, cancelled.stderr) == (0, "")
    assert "cancelled 1100 pending and 0 running tasks" in cancelled.stdout
    assert in_queue() == []
    assert ask("jobs.cancel", tmp_path / "none").returncode == 2


@pytest.mark.timeout(600)
def test_tasks_that_die_at_start_on_every_node_are_told_and_not_tried_for_ever(slurm_env: Cluster, tmp_path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 5)
    options = (f"prompt_file={prompts}", "shard_size=1", "shards_per_task=1", "hydra.launcher.cpus_per_task=1")
    broken = 'hydra.launcher.setup=["echo no such module >&2; exit 9"]'
    said = ended(launch(tmp_path, *options, broken), 1)
    assert re.search(r"the last 3 tasks on node\d ended before they began anything \(FAILED 9:0 on node\d\)", said)
    assert "on node1 and node2 alike: nothing more is submitted" in said
    assert re.search(r"problem: tasks? \d+_\d.*: FAILED 9:0 on node\d: no such module \[.*_0_log.err\]", said)
    assert "run the same command again" not in said and "nothing came of this command" in said
    # three on the first node at least, and each task at most three times
    tries = Counter(path.name.split("_")[1] for path in tmp_path.glob("run/logs/launch-*/*_0_log.err"))
    assert in_queue() == [] and set(tries) == set("01234") and max(tries.values()) <= 3
    logs = ask("jobs.logs", tmp_path / "run", "3")
    assert logs.returncode == 0 and "no such module" in logs.stdout


@pytest.mark.timeout(600)
def test_only_a_runs_own_tasks_are_cancelled(slurm_env: Cluster, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 3)
    ended(
        launch(
            tmp_path, f"prompt_file={prompts}", "shard_size=1", "shards_per_task=1", "algo.w=0.5,1", HELD, "wait=false"
        ),
        0,
    )
    one, other = sorted(path for path in tmp_path.iterdir() if path.name.startswith("run--"))
    assert len({job.array for job in in_queue()}) == 1
    (tmp_path / "link").symlink_to(tmp_path)
    assert "cancelled 3 pending" in ask("jobs.cancel", tmp_path / "link" / ".." / tmp_path.name / one.name).stdout
    left = list(queued_tasks([one, other], launches_of([one, other]), in_queue()))
    assert [Path(task.run) for task in left] == [other.absolute()] * 3


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("partition=nope", "Slurm refused the array: invalid partition specified: nope"),
        ("qos=nope", "Slurm refused the array: Invalid qos specification (sent by hydra.launcher.qos=nope)"),
    ],
)
def test_what_slurm_refuses_is_refused_before_anything_is_written(slurm_env, tmp_path, setting, said) -> None:
    output = ended(launch(tmp_path, f"hydra.launcher.{setting}"), 2)
    assert f"error: {said}" in output and f"hydra.launcher.{setting}" in output
    assert not (tmp_path / "run").exists() and in_queue() == []


@pytest.mark.parametrize("partition", [None, "dev"])
def test_what_the_largest_node_has_is_read(slurm_env: Cluster, partition: str | None) -> None:
    """Of Slurm's 64,000 MB a task can have 62 GB."""
    assert largest_machine(partition) == Machine(cpus=CPUS_PER_NODE, memory_gb=62, minutes=None)
    assert queue.node_gpus(partition) == GPUS_PER_NODE
    assert queue.nodes(partition) == set(NODES)


STUBBORN = """
import signal, time
from jobs.execute.requeue import requeue
asked = []
signal.signal(signal.SIGTERM, lambda *signal: asked.append(requeue(None)))
print("ready", flush=True)
while not asked:
    time.sleep(0.05)
print("answer:", asked[0] or "queued", flush=True)
"""


def test_a_cancelled_task_does_not_come_back(slurm_env: Cluster, tmp_path: Path) -> None:
    """Between scancel's SIGTERM and SIGKILL a task could have its job queued again."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    log = tmp_path / "log"
    run = f"srun {sys.executable} {tmp_path / 'stubborn.py'}"
    slurm_env.run("sbatch", "--requeue", "--array=0", f"--output={log}", f"--wrap={run}")
    assert wait_for(lambda: log.exists() and "ready" in log.read_text(), 60)
    slurm_env.run("scancel", *(job.id for job in in_queue()))
    assert wait_for(lambda: not in_queue(), 60)
    assert "answer: Slurm is ending the job already" in log.read_text()


# The submitter itself, in this process.


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path, f"prompt_file={write_prompts(tmp_path / 'p.txt', 12)}", "shard_size=1")


@pytest.fixture
def qos(slurm_env: Cluster) -> str:
    """A QOS that lets a user submit five jobs."""
    for words in (("add", "qos", "few"), ("modify", "qos", "few", "set", "MaxSubmitJobsPerUser=5")):
        slurm_env.run("sacctmgr", "-i", "-Q", *words)
    slurm_env.run("sacctmgr", "-i", "-Q", "modify", "user", "root", "set", "qos+=few")
    return "few"


SETTINGS = {"nodes": 1, "timeout_min": 5, "additional_parameters": {"hold": True}}


def submitter(run: Run, limits: Limits | None = None, **settings: object) -> Submitter:
    launch = Launch.begin([run], [Task(run, [shard], shard) for shard in range(12)])
    asked = {**SETTINGS, **settings}
    limits = limits or read_limits(asked)
    return Submitter(launch, asked, label="run", limits=limits, there=len(in_queue()), avoid=[], say=print)


def fill(one: Submitter) -> list[int]:
    """Submit what there is place for; returns the tasks in the queue, one for each job."""
    folders = [one.launch.folder.parents[1]]
    one.fill(in_queue(), list(queued_tasks(folders, launches_of(folders), in_queue())))
    return sorted(task.number for task in queued_tasks(folders, launches_of(folders), in_queue()))


@pytest.mark.parametrize("read", [True, False], ids=["read", "found out"])
def test_the_rest_is_submitted_as_places_get_free(slurm_env, run, qos, read) -> None:
    one = submitter(run, None if read else Limits(1001, None, None), qos=qos)
    first = fill(one)
    assert first == list(range(len(first))) and (len(first) == 5 if read else 1 <= len(first) <= 5)
    assert one.left == list(range(len(first), 12)) and one.full
    slurm_env.run("scancel", *[f"{job.id}" for job in in_queue()][:3])
    assert wait_for(lambda: len(in_queue()) == len(first) - min(3, len(first)), 30)
    one._next = 0.0  # the pause is over
    assert len(fill(one)) > len(first) - min(3, len(first))
    numbers = [task for task in range(12) if task not in one.left]
    assert numbers == list(range(len(numbers))) and len(numbers) > len(first)


def test_a_limit_that_never_allows_it_is_no_full_queue(slurm_env, run) -> None:
    for words in (("add", "qos", "none"), ("modify", "qos", "none", "set", "GrpSubmitJobs=0")):
        slurm_env.run("sacctmgr", "-i", "-Q", *words)
    slurm_env.run("sacctmgr", "-i", "-Q", "modify", "user", "root", "set", "qos+=none")
    assert read_limits({**SETTINGS, "qos": "none"}).most == 0
    one = submitter(run, Limits(1001, None, None), gres="nothing:1")
    assert fill(one) == [] and "generic resource" in one.refusal and "hydra.launcher.gres=nothing:1" in one.refusal


@pytest.fixture
def deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An sbatch whose answers are lost. It submits while the file ``heard`` is there, and counts its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    text = f"""\
#!/bin/sh
echo call >> {folder}/calls
[ ! -e {folder}/heard ] || {shutil.which("sbatch")} "$@" > /dev/null
echo "{lost}" >&2
exit 1
"""
    (folder / "sbatch").write_text(text)
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(doubt, "QUEUE", 0.2)
    monkeypatch.setattr(doubt, "SETTLES", 1.0)
    yield folder


def test_an_array_that_was_taken_without_an_answer_is_found(slurm_env, run, deaf) -> None:
    (deaf / "heard").touch()
    one = submitter(run)
    assert fill(one) == list(range(12))
    assert one.left == [] and one.launch.unanswered() == []
    assert (deaf / "calls").read_text().count("call") == 1


def test_one_that_was_not_taken_is_tried_again_with_patience_and_not_for_ever(slurm_env, run, deaf) -> None:
    one = submitter(run)
    with pytest.raises(BadInput, match=r"Slurm does not take the array run-launch-.*: start the same command again"):
        fill(one)
    assert (deaf / "calls").read_text().count("call") == 2 and in_queue() == []


def test_while_slurm_is_silent_nothing_is_tried_again(slurm_env, run, deaf, monkeypatch) -> None:
    one = submitter(run)
    monkeypatch.setattr(queue, "look", lambda owners=(): None)
    with pytest.raises(BadInput, match="Slurm does not say whether it took the array"):
        one.fill([], [])
    assert (deaf / "calls").read_text().count("call") == 1
    assert one.launch.unanswered() == [0]  # so the next command asks again


def test_the_array_of_a_command_that_was_killed_in_the_middle_is_found(slurm_env, run, deaf) -> None:
    """Its sbatch was on the way: Slurm takes it only after the next command has looked for the first time."""
    one = submitter(run)
    name = one.launch.job_name("run")
    one.launch.about_to_submit(0, f"#!/bin/sh\n#SBATCH --job-name={name}\n")
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        if "finding out" in sentence:  # it has looked
            assert in_queue() == []
            slurm_env.run("sbatch", "--hold", "--array=0-11", f"--job-name={name}", "--output=/dev/null", "--wrap=true")

    _, found = find_out([run.directory.path], say)
    assert [task.number for task in found.tasks] == list(range(12)) and said[-1] == "Slurm took it"
