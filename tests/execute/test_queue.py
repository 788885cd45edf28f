"""What Slurm's commands print, read."""

import pytest

from jobs.execute import limits, queue
from jobs.execute.machines import largest_machine
from jobs.execute.queue import Job, read_queue

GRES = {  # as ``sinfo --format=%G`` prints it, a line for each kind of node
    "gpu:2\n(null)\n": 2,
    "gpu:a100:8(S:0-1)\n": 8,
    "gpu:a100:4,gpu:h200:2,shard:64\n": 6,
    "(null)\n": None,
    "": None,
}


@pytest.mark.parametrize(("listing", "gpus"), GRES.items())
def test_the_gpus_of_the_largest_node(monkeypatch: pytest.MonkeyPatch, listing: str, gpus: int | None):
    monkeypatch.setattr(queue, "ask", lambda *command: listing)
    assert queue.node_gpus(None) == gpus


def test_the_names_of_gpus(monkeypatch: pytest.MonkeyPatch):
    listing = "gpu:2\n(null)\ngpu:a100:8(S:0-1)\ngpu:a100:4,gpu:h200_141gb:2,shard:64\n"
    monkeypatch.setattr(queue, "ask", lambda *command: listing)
    assert queue.gpu_types(None) == ["", "a100", "h200_141gb"]


def test_a_hidden_partition_is_asked_for_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    for module in (queue, limits):
        monkeypatch.setattr(module, "ask", lambda *command: asked.append(command))
    queue.node_gpus("dark")
    queue.nodes("dark")
    largest_machine("dark")
    limits.read_limits({"partition": "dark"})
    about = [command for command in asked if "dark" in " ".join(command)]
    # sinfo tells of a hidden one by its name, and refuses --all beside it
    assert [("--all" in command) for command in about] == [command[0] == "scontrol" for command in about]
    assert [command[0] for command in about] == ["sinfo"] * 3 + ["scontrol"]


def test_the_queue_is_read_task_by_task() -> None:
    listing = (
        "12_[3-4,20-24:2%3]|PENDING|JobArrayTaskLimit|n/a|a-launch-1.0.0\n"
        "12_2|RUNNING|None|node7|a-launch-1.0.0\n"
        "13|PENDING|Nodes required for job are DOWN, DRAINED or reserved|N/A|with | and spaces\n"
    )
    pending = [Job("12", task, "PENDING", "JobArrayTaskLimit", "", 3, "a-launch-1.0.0") for task in (3, 4, 20, 22, 24)]
    jobs = read_queue(listing)
    assert jobs[:5] == pending and jobs[0].id == "12_3"
    assert jobs[5] == Job("12", 2, "RUNNING", "None", "node7", None, "a-launch-1.0.0")
    assert (jobs[6].id, jobs[6].reason[:5], jobs[6].name) == ("13", "Nodes", "with | and spaces")
    assert read_queue("") == []


def test_no_answer_is_not_an_empty_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ask", lambda *command, within: None)
    assert queue.look() is None


def test_jobs_of_others_are_asked_for_by_name_and_our_own_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(queue, "ask", lambda *command, within: asked.append(command) or "")
    monkeypatch.setattr(queue, "user_name", {0: "me", 7: "other", 8: ""}.__getitem__)
    monkeypatch.setattr("os.getuid", lambda: 0)
    for owners in ((), (0,), (0, 8), (0, 7)):
        queue.look(owners)
    assert [command[2] for command in asked] == ["--me", "--me", "--me", "--user=me,other"]


def test_variables_of_an_allocation_go_and_those_of_the_cluster_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CPU_BIND", "SLURM_JOB_ID", "SLURM_CONF", "SLURM_CONF_SERVER", "SBATCH_PARTITION"):
        monkeypatch.setenv(name, "x")
    queue.drop_allocation_variables()
    import os

    kept = {name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))}
    assert kept == {"SLURM_CONF", "SLURM_CONF_SERVER", "SBATCH_PARTITION"}
