"""Scoring by array jobs on a real Slurm: a task that is killed, what the others made of it, and the same again."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from jobs.execute.launches import launches_of
from jobs.store.journal import Journal, journals
from jobs.store.rundir import RunDir
from jobs.store.scores import ScoreDir
from tests import warm
from tests.execute.test_store import KEYS, STORE, make, stored
from tests.export.runs import finished_run, lines
from tests.s3 import BUCKET, S3
from tests.slurm.test_fanout import kill_all_of
from tests.support import command
from tools.slurm import Cluster

LAUNCHED = ("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "shards_per_task=1", "device=cpu")
MINE = """
import pathlib, time

def patient(media, rows):
    while rows[0]["sample_index"] >= 5 and pathlib.Path("wait").exists():
        time.sleep(0.05)
    return {"patient": media.mean((1, 2, 3))}
"""


def start(run: Path, *words: str) -> subprocess.Popen:
    return warm.Popen(
        command(str(run), *LAUNCHED, *words, module="jobs.score"),
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    )


def _at(directory: RunDir, shards: set[int]) -> list[Journal]:
    return [one for one in journals(directory) if one.header["shard"] in shards and one.alive()]


def test_a_scoring_outlives_the_death_of_a_task(slurm_env: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = finished_run(tmp_path, lines(12)).directory.path
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("patient.py").write_text(MINE)
    Path("wait").touch()
    directory = ScoreDir(RunDir(run), "patient:patient")
    words = ("scorers=[patient:patient,basic,near_duplicates]", "batch_size=1")
    first = start(run, *words)
    while not directory.is_done(0) or not (held := _at(directory, {1, 2})):
        assert first.poll() is None
        time.sleep(0.05)
    kill_all_of(held[0].header["slurm_job"])
    Path("wait").unlink()
    said, _ = first.communicate(timeout=240)
    assert first.returncode == 1 and "run the same command again" in said, said
    assert directory.done_shards() == {0, 1, 2} - {held[0].header["shard"]}
    again = start(run, *words)
    said, _ = again.communicate(timeout=240)
    assert again.returncode == 0, said
    assert "launching 1 tasks for 1 shards" in said
    assert [len(directory.table(shard)) for shard in range(3)] == [5, 5, 2]
    assert ScoreDir(RunDir(run), "near_duplicates").done_shards() == {0, 1, 2}
    (tasks,) = [launch.listing for launch in launches_of([directory.path]).values() if len(launch.listing) > 1]
    assert len(tasks) == 6  # three shards by each of two scorers, in one launch


@pytest.mark.timeout(600)
def test_an_array_scores_a_run_in_a_store(slurm_env: Cluster, s3: S3, tmp_path: Path) -> None:
    """Its tasks share a directory where none was, and put their tables into the store."""
    make(stored(tmp_path))
    shutil.rmtree(tmp_path / "here")
    words = (f"{STORE}/run", *LAUNCHED, f"work_path={tmp_path}/work", "scorers=[basic,near_duplicates]")
    result = warm.run(command(*words, module="jobs.score"), env=dict(os.environ), timeout=400)
    assert result.returncode == 0, result.stderr + result.stdout
    assert "launching 3 tasks for 3 shards" in result.stdout
    found = {key.removeprefix(f"{KEYS}scores/") for key in s3.keys(BUCKET, f"{KEYS}scores/")}
    each = {f"meta/{n:05d}.parquet" for n in range(3)} | {f"done/{n:05d}.json" for n in range(3)} | {"run.json"}
    assert found == {f"{scorer}/{name}" for scorer in ("basic", "near_duplicates") for name in each}
    assert not any((tmp_path / "work").rglob("0*.tar"))
