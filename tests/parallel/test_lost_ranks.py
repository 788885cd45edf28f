"""Ranks of a real run killed at random instants: everybody leaves soon, the cause is named, and the run resumes."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests import warm
from tests.support import command, generate, media_hashes

KILLS = int(os.environ.get("RANK_KILLS", "2"))  # 20 and more by hand
# Losses are noticed in half of the usual time: a heartbeat each half second, 15 of which may be missed.
PATIENCE = {"JOBS_PATIENCE": "0.5"}
ENDS = 200.0  # seconds; only a hang takes as long
RUN = (
    *("model=demo-video", "prompt_file=prompts/shapes-video.txt", "total_prompt_num=4", "shard_size=2"),
    *("batch_size=1", "num_inference_steps=28", "exp_name=run"),
)
LONG = (*RUN, "total_prompt_num=8")  # the last word on an option counts; to be killed at any instant


def ranks_of(parent: int) -> list[psutil.Process]:
    """The run's worker processes, rank 0 first: only its fork server has children."""
    try:
        helpers = psutil.Process(parent).children()
        return [worker for helper in helpers for worker in sorted(helper.children(), key=lambda one: one.pid)]
    except psutil.NoSuchProcess:
        return []


def start(folder: Path, settings: tuple[str, ...] = RUN) -> subprocess.Popen:
    """A run by two ranks, which share the branches of guidance."""
    with open(folder / "output", "ab") as output:
        words = command(*settings, f"output_base_path={folder}", "parallel.cfg=2")
        return warm.Popen(words, stdout=output, stderr=output, env={**os.environ, **PATIENCE})


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reference")
    assert generate(*LONG, f"output_base_path={folder}").returncode == 0
    return media_hashes(folder / "run")


@pytest.mark.timeout(600 + 300 * KILLS)
def test_a_lost_rank_ends_its_group_and_the_run_resumes(reference: dict[str, str], tmp_path: Path):
    """That two ranks share the branches of guidance does not change a bit of the result."""
    dice = random.Random(5)
    kills, rounds = 0, 0
    while kills < KILLS:
        rounds += 1
        folder = tmp_path / f"round{rounds}"
        folder.mkdir()
        while True:
            run = start(folder, LONG)
            victim = kills % 2
            if not _kill(run, victim, dice):
                assert run.wait(ENDS) == 0, (folder / "output").read_text()
                break
            code = run.wait(ENDS)
            output = (folder / "output").read_text()
            if "problem: worker cpu + cpu" not in output:  # all shards had been published a moment before
                assert code == 0 and "4 of 4 shards done" in output
                break
            kills += 1
            if victim:
                assert "rank 1 (process " in output or "lost rank 1, which was killed by SIGKILL" in output
            else:
                assert "killed by SIGKILL" in output
            if code == 0:  # another group took its place
                break
            assert code == 1, output  # it had not begun
            if kills == KILLS:
                assert start(folder, LONG).wait(ENDS) == 0, "the same command goes on"
                break
        assert media_hashes(folder / "run") == reference
        assert not list((folder / "run/work").glob("0*")), "nothing is left over"


def _kill(run: subprocess.Popen, victim: int, dice: random.Random) -> bool:
    """Kill a rank at a random instant, from its birth on; false where the run ended before."""
    while len(ranks := ranks_of(run.pid)) < 2:
        if run.poll() is not None:
            return False
        time.sleep(0.02)
    try:
        run.wait(dice.uniform(0, 7))
        return False
    except subprocess.TimeoutExpired:
        pass
    try:
        ranks[victim].send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:  # it had just left
        return False
    return True


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("rank", "word", "codes"),
    [
        (0, "lost rank 1, which ended with code 75", {0}),
        (1, "rank 1 has given no sign of life for 7.5 seconds", {0, 1}),
    ],
)
def test_a_slow_rank_is_given_up(tmp_path: Path, rank: int, word: str, codes: set[int]):
    """A stopped process shows no sign of life, and does not even notice that the others have left.

    A stopped leader is killed, and another group goes on. Where it is another rank, the leader says why it ends, and
    another group goes on if this one had published anything.
    """
    run = start(tmp_path)
    while not list(tmp_path.glob("run/work/*.jsonl")):
        assert run.poll() is None
        time.sleep(0.1)
    stopped = ranks_of(run.pid)[rank]
    stopped.send_signal(signal.SIGSTOP)
    assert run.wait(ENDS) in codes
    assert word in (tmp_path / "output").read_text()
    assert not stopped.is_running()
    if rank == 0:
        logs = [path.read_text() for path in tmp_path.glob("run/logs/*-rank1.log")]
        assert any("rank 0 has given no answer for 7.5 seconds" in log for log in logs)


def test_ranks_do_not_outlive_their_command(tmp_path: Path):
    run = start(tmp_path)
    while len(ranks := ranks_of(run.pid)) < 2 or not list(tmp_path.glob("run/work/*.jsonl")):
        assert run.poll() is None
        time.sleep(0.1)
    run.kill()
    run.wait()
    _, left = psutil.wait_procs(ranks, timeout=ENDS)
    assert not left


# Python runs this at the start of every process.
SITE = """
import sys

def rank():
    import torch.distributed as dist
    return dist.get_rank()

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "jobs.execute.worker":  # which then finds these modules already imported
            sys.meta_path.remove(self)
            import jobs.model.load, jobs.model.pipeline, torch
            call = jobs.model.WHERE
            def failing(*given, **named):
                BODY
            jobs.model.WHERE = failing
        return None

sys.meta_path.insert(0, Finder())
"""
FULL = 'torch.OutOfMemoryError("no memory left")'
IMPOSSIBLE = 'ValueError("a prompt that cannot be")'
SECOND = "given[1][0].prompt_index == 1"  # the second prompt, of the arguments of BatchPipeline._call_pipeline


def failing(folder: Path, where: str, *body: str) -> dict[str, str]:
    """Replaces a function of ``jobs.model`` in every process of a command with this environment."""
    (folder / "sitecustomize.py").write_text(SITE.replace("WHERE", where).replace("BODY", ("\n" + " " * 16).join(body)))
    return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.timeout(600)
def test_an_error_that_one_rank_meets_ends_the_group(tmp_path: Path):
    """As if one GPU's memory were full."""
    check = f"if {SECOND} and rank() == 1: raise {FULL}"
    environment = failing(tmp_path, "pipeline.BatchPipeline._call_pipeline", check, "return call(*given, **named)")
    arguments = (*RUN, f"output_base_path={tmp_path}", "parallel.cfg=2")
    failed = generate(*arguments, timeout=ENDS, **environment, **PATIENCE)
    assert failed.returncode == 1
    assert failed.stdout.count("rank 1: OutOfMemoryError: no memory left") == 2, failed.stdout  # a problem, a failure
    status = warm.run(command(str(tmp_path / "run"), module="jobs.status"), timeout=60)
    assert "rank 1: OutOfMemoryError: no memory left" in status.stdout, status.stdout


@pytest.mark.timeout(600)
def test_a_rank_that_cannot_begin_is_named(tmp_path: Path):
    environment = failing(
        tmp_path, "load.load_pipeline", f"if rank() == 1: raise {FULL}", "return call(*given, **named)"
    )
    failed = generate(*RUN, f"output_base_path={tmp_path}", "parallel.cfg=2", timeout=ENDS, **environment, **PATIENCE)
    assert failed.returncode == 1
    assert "problem: worker cpu + cpu: rank 1: OutOfMemoryError: no memory left" in failed.stdout, failed.stdout
    assert "without a message" not in failed.stdout
    assert not list(tmp_path.glob("run/work/group-*"))


ALONE = {
    "all ranks": (f"if {SECOND}: raise {IMPOSSIBLE}", "return call(*given, **named)"),
    "rank 0 as it decodes": (
        "made = call(*given, **named)",
        f"if {SECOND} and rank() == 0: raise {IMPOSSIBLE}",
        "return made",
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("who", ALONE)
def test_an_error_that_leaves_nobody_in_the_call_fails_the_sample_alone(tmp_path: Path, who: str):
    environment = failing(tmp_path, "pipeline.BatchPipeline._call_pipeline", *ALONE[who])
    arguments = (*RUN, f"output_base_path={tmp_path}", "parallel.cfg=2")
    failed = generate(*arguments, timeout=ENDS, **environment, **PATIENCE)
    assert failed.returncode == 1
    assert "3 of 4 samples" in failed.stdout, failed.stdout
    assert "ValueError: a prompt that cannot be" in failed.stdout
    if who == "all ranks":
        assert generate(*arguments).returncode == 0
