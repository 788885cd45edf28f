"""Tasks that have a whole node: one process for all of its GPUs, or one of the cluster's for each."""

import json
from pathlib import Path

import pytest

from jobs.store.rundir import RunDir
from tests.slurm.test_fanout import FANNED_OUT
from tests.support import generate, write_prompts
from tools.slurm import Cluster

SETTINGS = ("num_inference_steps=8", "algo.w=0.5", "batch_size=2", "shard_size=2", "exp_name=run", "device=cpu")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "asked", ["hydra.launcher.gpus_per_node=2", "hydra.launcher.tasks_per_node=2"], ids=["a pool", "tasks of Slurm's"]
)
def test_a_task_works_all_the_gpus_of_its_node(slurm_env: Cluster, tmp_path: Path, asked: str) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 8)
    settings = [word for word in FANNED_OUT if "gpus_per_node" not in word]
    made = generate(
        *settings, f"prompt_file={prompts}", f"output_base_path={tmp_path}", *SETTINGS, asked, "shards_per_task=4"
    )
    assert made.returncode == 0, made.stdout + made.stderr
    run = RunDir(tmp_path / "run")
    records = [json.loads(run.done_record(shard).read_text()) for shard in range(4)]
    assert len({record["attempt"].rpartition("-")[2] for record in records}) == 2  # both processes made some
    assert made.stdout.count("launching 1 task") == 1
    assert len(list(run.logs.glob("launch-*/*_log.err"))) == (1 if "gpus" in asked else 2)
