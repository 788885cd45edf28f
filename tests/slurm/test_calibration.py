"""A run that calibrates itself as an array: submitted and left, its tasks make the calibration together."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from jobs.store.rundir import RunDir
from tests import warm
from tests.support import command, generate, tar_hashes, write_prompts
from tools.slurm import Cluster

SETTINGS = (
    *("num_inference_steps=9", "height=32", "width=32", "shard_size=3", "batch_size=2", "exp_name=run"),
    *("algo.calibration=auto", "algo.calibration_prompts=4"),
)
FANNED_OUT = ("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.gpus_per_node=1", "hydra.launcher.cpus_per_task=1")


@pytest.mark.timeout(600)
def test_the_tasks_of_an_array_calibrate_it_though_the_command_is_gone(slurm_env: Cluster, tmp_path: Path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 6)
    arguments = (*FANNED_OUT, f"prompt_file={prompts}", f"output_base_path={tmp_path}", *SETTINGS)
    run = RunDir(tmp_path / "run")
    kept = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with warm.Popen(
        command(*arguments), env={**os.environ, **kept}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        while not run.calibration.exists() and not run.calibrations_begun():
            assert first.poll() is None
            time.sleep(0.05)
        first.kill()
    again = generate(*arguments, **kept)
    assert again.returncode == 0, again.stderr
    assert "quality  PSNR" in again.stdout
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1

    here = tmp_path / "here"
    local = generate(
        f"prompt_file={prompts}", f"output_base_path={here}", *SETTINGS, XDG_CACHE_HOME=str(tmp_path / "other")
    )
    assert local.returncode == 0, local.stderr
    assert run.calibration.read_bytes() == RunDir(here / "run").calibration.read_bytes()
    assert tar_hashes(run.path) == tar_hashes(here / "run") and len(tar_hashes(run.path)) == 2
