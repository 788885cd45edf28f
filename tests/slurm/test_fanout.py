"""The whole way on a real Slurm: an array over two nodes, a prompt that fails, a killed task, and the same again."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import datasets
import psutil
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from jobs.execute.begun import begun
from jobs.execute.launches import launches_of
from jobs.store.journal import journals
from jobs.store.rundir import RunDir
from tests import warm
from tests.s3 import BUCKET, S3
from tests.support import PROJECT, command, generate, tar_hashes, write_prompts
from tools.slurm import Cluster
from tools.slurm.processes import matching

SHARDS, SIZE, BAD = 3, 3, 7  # more tasks than a node has GPUs
SETTINGS = ("num_inference_steps=12", f"shard_size={SIZE}", "batch_size=2", "algo.w=0.5", "exp_name=run")
FANNED_OUT = ("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.gpus_per_node=1", "hydra.launcher.cpus_per_task=1")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 prompts; no. 7 asks for a guidance that overflows float32, so its sample can never be made."""
    colours, shapes = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle")
    rows = [
        {"prompt": f"a {colours[i % 4]} {shapes[i % 3]} on a white background", "score": i / 10, "source": f"row {i}"}
        for i in range(SHARDS * SIZE)
    ]
    rows[BAD]["guidance_scale"] = 1e300
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def reference(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of a run in one process on this machine; its second command gives the failing sample up."""
    folder = tmp_path_factory.mktemp("reference")
    arguments = (f"prompt_file={prompts}", f"output_base_path={folder}", *SETTINGS)
    assert [generate(*arguments).returncode for _ in range(2)] == [1, 1]
    return tar_hashes(folder / "run")


def kill_a_task_in_mid_shard(run: RunDir, fanned_out: subprocess.Popen) -> str:
    """SIGKILL a task that has written a sample and is not done; returns its Slurm job id."""
    while fanned_out.poll() is None:
        for journal in journals(run):
            if journal.samples and journal.header["shard"] != BAD // SIZE and journal.alive():
                pid = journal.header["process"]["pid"]
                os.kill(pid, signal.SIGSTOP)  # so that it cannot get done between the look and the kill
                if not run.is_done(journal.header["shard"]):
                    return kill_all_of(journal.header["slurm_job"])
                os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
    raise AssertionError("no task was caught in mid-shard")


def kill_all_of(job: str) -> str:
    """SIGKILL the processes of an array task, the one that would start other workers first; returns its id."""
    array, _, number = job.partition("_")
    wanted = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": number, "SUBMITIT_EXECUTOR": "slurm"}
    for process in sorted(matching(lambda seen: wanted.items() <= seen.environment.items()), key=lambda one: one.pid):
        process.signal(signal.SIGKILL)
    return job


def states(jobs: set[str]) -> dict[str, str]:
    """Job id -> 'STATE code:signal node', from sacct."""
    deadline = time.monotonic() + 60
    while True:
        lines = subprocess.run(
            ["sacct", "-X", "-nP", "--format=jobid,state,exitcode,nodelist"],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        found = {job: f"{state} {code} {node}" for job, state, code, node in (line.split("|") for line in lines)}
        settled = {job: found[job] for job in jobs & found.keys() if "RUNNING" not in found[job]}
        if settled.keys() == jobs or time.monotonic() > deadline:
            return settled
        time.sleep(1)


def launched(run: Path) -> list[set[str]]:
    """Array task ids of each launch that have begun, oldest first."""
    folders = sorted(run.glob("logs/launch-*"))
    return [{path.name.removesuffix("_0_log.err") for path in folder.glob("*_0_log.err")} for folder in folders]


@pytest.mark.timeout(1200)
def test_an_array_with_a_bad_prompt_and_a_killed_task(slurm_env: Cluster, prompts, reference, tmp_path) -> None:
    folder = tmp_path / "it's"
    arguments = (*FANNED_OUT, f"prompt_file={prompts}", f"output_base_path={folder}", *SETTINGS)
    run = RunDir(folder / "run")

    with warm.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        killed = kill_a_task_in_mid_shard(run, first)
        output, errors = first.communicate(timeout=400)
    assert first.returncode == 1, errors
    assert f"{SHARDS - 2} of {SHARDS} shards done" in output
    assert "output is not finite" in output

    jobs = launched(run.path)[0]
    assert len(jobs) == SHARDS and len({job.partition("_")[0] for job in jobs}) == 1  # one array
    seen = states(jobs)
    failed = f"{killed.partition('_')[0]}_{BAD // SIZE}"
    assert seen[failed].startswith("FAILED 1:0")
    assert seen[killed].split()[0] in ("FAILED", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY"), seen[killed]
    assert all(state.startswith("COMPLETED 0:0") for job, state in seen.items() if job not in (failed, killed))
    assert {state.split()[-1] for state in seen.values()} == {"node1", "node2"}

    status = warm.run(command(str(run.path), module="jobs.status"))
    assert status.returncode == 1
    assert f"done {SHARDS - 2}   running 0   failed 2   left 0" in status.stdout
    assert "_log.err" in status.stdout  # every failure names its log

    before = tar_hashes(run.path)
    again = generate(*arguments, timeout=400)
    assert again.returncode == 1  # the bad sample failed again and is given up now: the summary says so
    assert f"{SHARDS} of {SHARDS} shards done" in again.stdout and "given up 1" in again.stdout
    assert len(launched(run.path)[1]) == 2  # exactly what was left
    assert tar_hashes(run.path).items() >= before.items()

    once_more = generate(*arguments)
    assert once_more.returncode == 0
    assert len(launched(run.path)) == 2  # nothing was left to launch

    assert tar_hashes(run.path) == reference
    check_readers(run, tmp_path)


def check_readers(run: RunDir, scratch: Path) -> None:
    """Every sample but the impossible one is there once, for webdataset and for HF datasets."""
    expected = [f"{i:08d}_0000" for i in range(SHARDS * SIZE) if i != BAD]
    tars = sorted(map(str, run.data.glob("*.tar")))
    rows = list(wds.WebDataset(tars, shardshuffle=False).decode("pil"))
    assert [row["__key__"] for row in rows] == expected
    assert all(row["png"].size == (64, 64) and row["json"]["prompt"] == row["txt"] for row in rows)
    loaded = datasets.load_dataset("webdataset", data_files=tars, split="train", cache_dir=str(scratch / "cache"))
    assert loaded["__key__"][:] == expected
    sources = [json.loads(row["metadata"])["source"] for row in loaded["json"]]
    assert sources == [f"row {int(key[:8])}" for key in expected]
    statuses = Counter(
        status
        for path in run.meta.iterdir()
        for status in pq.read_table(path, columns=["status"])["status"].to_pylist()
    )
    assert statuses == {"ok": SHARDS * SIZE - 1, "failed": 1}


@pytest.mark.timeout(600)
def test_a_second_command_waits_for_the_tasks_of_one_that_died(slurm_env: Cluster, tmp_path) -> None:
    arguments = (*FANNED_OUT, "total_prompt_num=4", f"output_base_path={tmp_path}", *SETTINGS, "shard_size=2")
    run = RunDir(tmp_path / "run")
    with warm.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_for(lambda: first.poll() is not None or list(run.logs.glob("launch-*/array-0.json")))
        first.kill()
    again = generate(*arguments)
    assert again.returncode == 0, again.stderr
    assert "still in the queue" in again.stdout
    assert len(launched(run.path)) == 1
    assert sorted(tar_hashes(run.path)) == ["00000.tar", "00001.tar"]
    (launch,) = launches_of([run.path]).values()
    assert len({job for job, node in begun(launch.folder) if node in ("node1", "node2")}) == 2


def queue_state(job: str) -> str:
    listing = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True)
    return listing.stdout.strip()


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def command_lines() -> list[list[str]]:
    return [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]


def start_again(job: str) -> None:
    """Start a job that was queued again, which Slurm holds back for two minutes.

    Not in the second in which its first run ended: its node refuses whatever is issued for that job up to then, and the
    refusal would end it. The programs that watch over a run are the last of it.
    """
    wait_for(lambda: queue_state(job) == "PENDING")
    wait_for(lambda: not any(f"slurmstepd: [{job.partition('_')[0]}" in " ".join(one) for one in command_lines()))
    over = int(time.time())
    wait_for(lambda: time.time() >= over + 2)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


@pytest.mark.timeout(600)
def test_a_task_at_its_time_limit_is_queued_again_and_resumes(slurm_env: Cluster, tmp_path) -> None:
    """The signal is the one Slurm sends before the time limit."""
    settings = ("total_prompt_num=8", "num_inference_steps=20", "algo=nocache", "batch_size=1", "exp_name=run")
    arguments = (*FANNED_OUT, f"output_base_path={tmp_path}", *settings)
    run = RunDir(tmp_path / "run")
    with warm.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_for(lambda: any(journal.samples for journal in journals(run)))
        (before,) = journals(run)
        job = before.header["slurm_job"]
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        wait_for(lambda: queue_state(job) == "PENDING")
        first.kill()
    with warm.Popen(command(*arguments), stdout=subprocess.PIPE, text=True) as again:
        assert again.stdout
        assert again.stdout.readline() == "1 tasks of an earlier command are still in the queue: waiting for them too\n"
        start_again(job)
        output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert len(list(run.path.glob("logs/launch-*"))) == 1

    local = generate(f"output_base_path={tmp_path / 'local'}", *settings)
    assert local.returncode == 0
    assert tar_hashes(run.path) == tar_hashes(tmp_path / "local" / "run")
    attempts = {row["attempt"] for row in pq.read_table(run.sidecar(0)).to_pylist()}
    assert len(attempts) == 2 and before.header["attempt"] in attempts  # what was made before the limit was kept


@pytest.mark.timeout(600)
def test_the_cluster_example_runs_as_it_is(slurm_env: Cluster, tmp_path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 4)
    small = ("num_inference_steps=8", "shard_size=2", "exp_name=run", "hydra.launcher.cpus_per_task=1")
    words = [str(PROJECT / "examples" / "cluster.sh"), str(prompts), f"output_base_path={tmp_path}", *small]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "MODEL": "demo", "SHARDS_PER_TASK": "2", "PATH": path}
    made = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=500)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "launching 1 tasks for 2 shards" in made.stdout
    assert sorted(tar_hashes(tmp_path / "run")) == ["00000.tar", "00001.tar"]


@pytest.mark.timeout(600)
def test_an_array_of_a_run_in_a_store(slurm_env: Cluster, s3: S3, prompts, reference, tmp_path) -> None:
    """Its tasks share the directory where it works, and find the store as the command does."""
    where = (f"prompt_file={prompts}", f"output_base_path=s3://{BUCKET}/runs", f"work_path={tmp_path}/work")
    result = generate(*FANNED_OUT, *where, *SETTINGS, "total_prompt_num=6", timeout=400)
    assert result.returncode == 0, result.stderr + result.stdout
    assert f"s3://{BUCKET}/runs/run: 6 of 6 samples, 2 of 2 shards done" in result.stdout
    found = {name: hashlib.sha256(data).hexdigest() for name, data in s3.objects(BUCKET, "runs/run/data/").items()}
    assert found == {name: reference[name] for name in ("00000.tar", "00001.tar")}
    assert not any((tmp_path / "work").rglob("0*.tar"))
