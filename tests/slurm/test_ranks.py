"""Tasks of several ranks on a real Slurm: an array of them, one that loses a rank, and ranks on two nodes."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.store.journal import Journal, journals
from jobs.store.rundir import RunDir
from tests import warm
from tests.slurm.test_fanout import launched, start_again, states, wait_for
from tests.support import command, generate, media_hashes
from tools.slurm import Cluster
from tools.slurm.processes import matching

VIDEO = ("model=demo-video", "prompt_file=prompts/shapes-video.txt", "shard_size=3", "batch_size=1", "exp_name=run")
SETTINGS = (*VIDEO, "total_prompt_num=6", "num_inference_steps=10")
FANNED_OUT = ("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of a run in one process."""
    folder = tmp_path_factory.mktemp("reference")
    assert generate(*SETTINGS, f"output_base_path={folder}").returncode == 0
    return media_hashes(folder / "run")


def kill_a_follower(run: RunDir, launch: subprocess.Popen) -> str:
    """SIGKILL rank 1 of a task whose rank 0 has written one sample of a shard of three; returns its Slurm job id.

    While rank 1 is stopped, rank 0 can finish the sample in hand and no other, so that the shard cannot get done.
    """
    while launch.poll() is None:
        for journal in journals(run):
            if not journal.samples or not journal.alive():
                continue
            job = journal.header["slurm_job"]
            signal_rank_1(job, signal.SIGSTOP)
            now = Journal.read(journal.path)
            if now and not now.ended and len(now.samples) == 1:
                signal_rank_1(job, signal.SIGKILL)
                return job
            signal_rank_1(job, signal.SIGCONT)
        time.sleep(0.01)
    raise AssertionError("no task was caught in mid-shard")


def signal_rank_1(job: str, number: signal.Signals) -> None:
    wanted = {"SLURM_ARRAY_TASK_ID": job.partition("_")[2], "SLURM_PROCID": "1", "SUBMITIT_EXECUTOR": "slurm"}
    for process in matching(lambda seen: wanted.items() <= seen.environment.items()):
        os.kill(process.pid, number)


@pytest.mark.timeout(600)
def test_an_array_of_two_ranks_a_task_loses_one_and_resumes(slurm_env: Cluster, reference, tmp_path: Path) -> None:
    arguments = (*FANNED_OUT, f"output_base_path={tmp_path}", *SETTINGS, "parallel.cfg=2")
    run = RunDir(tmp_path / "run")
    with warm.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        killed = kill_a_follower(run, first)
        output, errors = first.communicate(timeout=400)
    assert first.returncode == 1, errors
    assert "1 of 2 shards done" in output
    jobs = launched(run.path)[0]
    seen = states(jobs)
    assert len(jobs) == 2
    assert seen[killed].split()[0] == "FAILED", seen
    assert all(state.startswith("COMPLETED 0:0") for job, state in seen.items() if job != killed), seen
    status = warm.run(command(str(run.path), module="jobs.status"))
    assert status.returncode == 1 and "done 1   running 0   failed 1   left 0" in status.stdout, status.stdout

    again = generate(*arguments, timeout=400)
    assert again.returncode == 0, again.stdout
    assert len(launched(run.path)[1]) in (0, 1)  # one task, whose folder is that of a job that is no array's
    assert media_hashes(run.path) == reference


@pytest.mark.timeout(600)
def test_a_task_of_two_ranks_at_its_time_limit_is_queued_again(slurm_env: Cluster, tmp_path: Path) -> None:
    """All ranks get the signal; rank 0 finishes the sample in hand and puts the job back, with the others."""
    settings = (*VIDEO, "total_prompt_num=8", "shard_size=8", "num_inference_steps=10", "algo=nocache")
    arguments = (*FANNED_OUT, f"output_base_path={tmp_path}", *settings, "parallel.cfg=2")
    run = RunDir(tmp_path / "run")
    with warm.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
        wait_for(lambda: any(journal.samples for journal in journals(run)))
        (before,) = journals(run)
        job = before.header["slurm_job"]
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        start_again(job)
        assert it.wait(300) == 0
    assert len(list(run.path.glob("logs/launch-*"))) == 1
    attempts = [row["attempt"] for row in pq.read_table(run.sidecar(0)).to_pylist()]
    assert attempts[0] == before.header["attempt"] != attempts[-1]  # what was made before the limit was kept


@pytest.mark.timeout(400)
def test_the_ranks_of_a_task_may_be_on_two_nodes(slurm_env: Cluster, reference, tmp_path: Path) -> None:
    """The meeting goes by host name then, and the group hears of a lost rank by its beats."""
    two_nodes = ("parallel.cfg=2", "hydra.launcher.nodes=2", "shards_per_task=2")
    made = generate(*FANNED_OUT, f"output_base_path={tmp_path}", *SETTINGS, *two_nodes, timeout=300)
    assert made.returncode == 0, made.stdout + made.stderr
    assert media_hashes(tmp_path / "run") == reference
    nodes = {state.split()[-1] for state in states(launched(tmp_path / "run")[0]).values()}
    assert nodes == {"node[1-2]"}


REFUSED = {
    ("parallel.cfg=2", "hydra.launcher.tasks_per_node=3"): "makes 3 ranks, and parallel.cfg=2 needs 2",
    ("parallel.cfg=2", "hydra.launcher.nodes=3"): "hydra.launcher.nodes=3 does not divide the 2 ranks",
    ("hydra.launcher.nodes=2",): "hydra.launcher.nodes=2 is for samples that ranks on several nodes share",
    ("parallel.cfg=1,2",): "parallel cannot be swept",
    ("parallel.cfg=2", "parallel.ulysses=3", "model.gpus=1"): "on 1 node needs 6 GPUs on each, and the largest has 2",
    ("parallel.cfg=2", "model.gpus=1", "hydra.launcher.gpus_per_node=1"): "is fewer than the 2 ranks",
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.items())
def test_a_launcher_that_does_not_fit_is_refused(slurm_env: Cluster, tmp_path: Path, arguments, sentence) -> None:
    made = generate(*FANNED_OUT, f"output_base_path={tmp_path}", *SETTINGS, *arguments)
    assert made.returncode == 2
    assert sentence in made.stderr
    assert made.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
