"""Tasks in a container on a real Slurm; the container is a stand-in (tests/slurm/bin/apptainer)."""

import os
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT, generate, tar_hashes, write_prompts
from tools.slurm import Cluster

SETTINGS = ("num_inference_steps=4", "shard_size=2", "exp_name=run")


@pytest.mark.timeout(600)
def test_a_shard_is_made_inside(slurm_env: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid():
        pytest.fail("a root directory of its own can be given to a process by root only: run this as root")
    image = tmp_path / "image"
    image.mkdir()
    system = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
    held = [path for path in (*system, sys.base_prefix, sys.prefix, *sys.path, str(PROJECT)) if os.path.isdir(path)]
    image.joinpath("holds").write_text("".join(f"{path}\n" for path in dict.fromkeys(held)))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(__file__).parent / "bin"), os.environ["PATH"]]))
    prompts = write_prompts(tmp_path / "prompts.txt", 2)
    made = generate(
        *("-m", "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", f"prompt_file={prompts}"),
        *(f"output_base_path={tmp_path / 'out'}", f"container.image={image}", f"container.python={sys.executable}"),
        *SETTINGS,
        timeout=500,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert (image / "started").read_text().startswith(f"{sys.executable} -u -m jobs.execute.job ")
    assert list(tar_hashes(tmp_path / "out" / "run")) == ["00000.tar"]
