"""What became of tasks: Slurm's answers read, logs cut to what counts, nodes judged."""

from pathlib import Path

import pytest

from jobs.execute import queue
from jobs.execute.excerpt import failing_part, last_words
from jobs.execute.launches import Launch, Queued
from jobs.execute.nodes import Nodes
from jobs.execute.postmortem import End, ends_of, first_node, read_sacct, read_scontrol, told
from jobs.execute.queue import Job

SCONTROL = (
    "JobId=49 ArrayJobId=49 ArrayTaskId=3 JobName=a JobState=FAILED Reason=JobLaunchFailure ExitCode=0:53 "
    "NodeList=node1 BatchHost=node1\n"
    "JobId=53 ArrayJobId=49 ArrayTaskId=0,5-6%2 JobName=a JobState=PENDING Reason=JobHeldUser ExitCode=0:0 NodeList=\n"
    "JobId=7 JobName=old JobState=CANCELLED Reason=Priority ExitCode=0:15 NodeList=gpu[07-09]\n"
)


def test_ends_are_read_from_scontrol() -> None:
    found = read_scontrol(SCONTROL)
    assert found["49_3"] == End("FAILED", "0:53", "node1", "JobLaunchFailure")
    assert {job for job, end in found.items() if end.state == "PENDING"} == {"49_0", "49_5", "49_6"}
    assert found["7"] == End("CANCELLED", "0:15", "gpu07")
    assert read_scontrol("") == {}


def test_ends_are_read_from_sacct() -> None:
    text = "49_1|FAILED|9:0|node1|None\n49_2|CANCELLED by 0|0:0|None assigned|None\n49_4|TIMEOUT|0:0|n[1,3]|TimeLimit\n"
    assert read_sacct(text) == {
        "49_1": End("FAILED", "9:0", "node1"),
        "49_2": End("CANCELLED", "0:0"),
        "49_4": End("TIMEOUT", "0:0", "n1", "TimeLimit"),
    }


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[07-09,12]", "gpu07"), ("a,b", "a"), ("n1", "n1"), ("(null)", ""), ("None assigned", ""), ("", "")],
)
def test_the_first_of_several_nodes(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


@pytest.mark.parametrize(
    ("scontrol", "sacct", "states"),
    [
        (SCONTROL, None, {"49_3": "FAILED", "49_9": ""}),  # no accounting, and one that the controller has forgotten
        (SCONTROL, "49_9|TIMEOUT|0:0|n1|None\n", {"49_3": "FAILED", "49_9": "TIMEOUT"}),
        (None, "49_3|FAILED|1:0|n1|None\n", {"49_3": "FAILED", "49_0": "", "49_9": ""}),
        (None, None, {"49_3": "", "49_0": "", "49_9": ""}),
    ],
)
def test_jobs_that_have_not_ended_are_left_out(monkeypatch, scontrol, sacct, states) -> None:
    monkeypatch.setattr(queue, "ask", lambda *command: {"scontrol": scontrol, "sacct": sacct}[command[0]])
    assert {job: end.state for job, end in ends_of(["49_3", "49_0", "49_9"]).items()} == states


def test_however_many_arrays_there_are_it_is_one_question_or_two(monkeypatch) -> None:
    asked: list[tuple[str, ...]] = []
    answers: dict[str, str | None] = {"sacct": None, "scontrol": SCONTROL.replace("ArrayJobId=49", "ArrayJobId=50")}
    monkeypatch.setattr(queue, "ask", lambda *command: asked.append(command) or answers[command[0]])
    wanted = [f"{array}_3" for array in range(40, 60)]
    assert ends_of(wanted)["50_3"].state == "FAILED"
    assert [command[0] for command in asked] == ["sacct", "scontrol"] and asked[1][-1] == "job"
    asked.clear()
    answers["sacct"] = "".join(f"{job}|FAILED|1:0|n1|None\n" for job in wanted)
    assert {end.state for end in ends_of(wanted).values()} == {"FAILED"} and len(asked) == 1


LOG = """\
2026-11-29 10:00:00,000 INFO jobs.execute.task: working shards [3]
Traceback (most recent call last):
  File "x.py", line 1, in f
    import missing
ModuleNotFoundError: No module named 'missing'
srun: error: node1: task 0: Exited with exit code 1
"""


def test_last_words_are_what_was_raised(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    assert last_words(log) == "ModuleNotFoundError: No module named 'missing'"
    assert failing_part(log)[0].startswith("Traceback") and len(failing_part(log)) == 4
    log.write_text("loading\rmodule not found\nslurmstepd: error: *** JOB 5 ON node1 CANCELLED AT 2026 ***\n")
    assert last_words(log) == "loading | module not found"
    log.write_bytes(b"\xff\xfe" + b"x" * 200_000 + b"\nlast\n")
    assert last_words(log, 1) == "last"
    assert last_words(tmp_path / "none") == "" and failing_part(tmp_path / "none") == []


def test_tasks_that_ended_alike_are_told_together(tmp_path: Path) -> None:
    ended = {}
    for number in range(8):
        task = Queued(Launch(tmp_path), 0, number, Job("5", number, "RUNNING", "None", "node1", None, "n"))
        (tmp_path / f"5_{number}_0_log.err").write_text(f"cannot read file{number}\n")
        ended[task] = End("FAILED", "9:0", "node1")
    ended[task] = End("FAILED", "0:53", "node2", "JobLaunchFailure")
    (tmp_path / "5_7_0_log.err").unlink()
    many, single = told(ended)
    assert many.startswith("tasks 5_0, 5_1, 5_2, 5_3, 5_4 and 2 more: FAILED 9:0 on node1: cannot read file0 [")
    assert single.startswith("task 5_7: FAILED 0:53 JobLaunchFailure on node2: its log is empty or missing [")


def test_a_node_is_bad_after_three_deaths_in_a_row() -> None:
    nodes = Nodes()
    assert [nodes.died_at_start("a") for _ in range(2)] == [False, False]
    nodes.began("a")  # so it was not the node
    assert [nodes.died_at_start("a") for _ in range(3)] == [False, False, True]
    assert not nodes.died_at_start("a")  # known by now
    nodes.began("b")
    assert nodes.bad == ["a"] and nodes.at_fault


def test_where_tasks_die_on_every_node_it_is_not_the_nodes() -> None:
    nodes = Nodes()
    for node in ("a", "a", "a"):
        nodes.died_at_start(node)
    assert nodes.at_fault  # nothing is known of others
    for node in ("b", "b", "b"):
        nodes.died_at_start(node)
    assert not nodes.at_fault
    nodes.began("c")
    assert nodes.at_fault
