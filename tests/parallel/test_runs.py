"""Whole runs of tiny pipelines of the real classes by two ranks, started by the command itself and by torchrun."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from jobs.base.errors import BadInput
from jobs.base.times import SPEAKS
from jobs.execute import command
from jobs.media.video import read_clip
from tests import warm
from tests.support import generate, media_hashes
from tests.tiny_pipelines import WIDTH, save

STEPS = 10
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def arguments(name: str, folder: Path, *given: str) -> list[str]:
    return [
        *(f"model={name}", f"model.path={folder}/{name}", "model.dtype=float32", f"model.feature.channels={WIDTH}"),
        *(f"prompt_file={folder}/p.txt", f"output_base_path={folder}", f"num_inference_steps={STEPS}", "device=cpu"),
        *("height=64", "width=64", "num_frames=5", "shard_size=2", "video_crf=0", *given),
    ]


@pytest.fixture(scope="module", params=["hunyuan", "wan14b"])
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A model, and a folder with it and what one process made of it."""
    name, folder = request.param, tmp_path_factory.mktemp("runs")
    save(name, folder / name)
    (folder / "p.txt").write_text("a cat\na dog that runs\na small house\n")
    made = generate(*arguments(name, folder, "exp_name=alone"))
    assert made.returncode == 0, made.stdout + made.stderr
    return name, folder


def clips(run: Path) -> dict[str, np.ndarray]:
    import webdataset as wds

    urls = sorted(map(str, run.glob("data/*.tar")))
    return {sample["__key__"]: read_clip(sample["mp4"]) for sample in wds.WebDataset(urls, shardshuffle=False)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_two_ranks_make_the_clips_of_one(alone: tuple[str, Path], batch_size: int) -> None:
    """HunyuanVideo's last bits differ (test_context_parallel), so a few pixels are rounded to their neighbours."""
    name, folder = alone
    given = (f"exp_name=two{batch_size}", "parallel.ulysses=2", f"batch_size={batch_size}")
    made = generate(*arguments(name, folder, *given))
    assert made.returncode == 0, made.stdout + made.stderr
    if name == "wan14b" and batch_size == 1:
        assert media_hashes(folder / "two1") == media_hashes(folder / "alone")
    expected, shared = clips(folder / "alone"), clips(folder / f"two{batch_size}")
    assert shared.keys() == expected.keys() and len(shared) == 3
    for key, clip in shared.items():
        assert np.abs(clip.astype(int) - expected[key]).mean() < 0.01


@pytest.mark.timeout(300)
@pytest.mark.parametrize("alone", ["wan14b"], indirect=True)
def test_torchrun_starts_the_ranks_as_well(alone: tuple[str, Path]) -> None:
    name, folder = alone
    words = arguments(name, folder, "exp_name=torchrun", "parallel.ulysses=2", "batch_size=2")
    made = torchrun(*words)
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.count("2 of 2 shards done") == 1
    assert media_hashes(folder / "torchrun") == media_hashes(folder / "two2")
    again = torchrun(*words)
    assert again.returncode == 0 and "2 of 2 shards done" in again.stdout


@pytest.mark.parametrize("alone", ["wan14b"], indirect=True)
def test_torchrun_with_other_degrees_is_refused_once(alone: tuple[str, Path]) -> None:
    name, folder = alone
    made = torchrun(*arguments(name, folder, "exp_name=wrong"))
    assert made.returncode == 1  # torchrun's own
    assert made.stderr.count("error: torchrun has 2 ranks and parallel.ulysses=1 makes 1: ") == 1
    assert not (folder / "wrong").exists()


def test_the_first_process_of_a_machine_speaks_before_another_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher that sees one of its processes end kills the others, the one that was about to speak among them."""
    waits: list[float] = []
    monkeypatch.setattr(command.time, "sleep", waits.append)
    monkeypatch.setattr(command, "_run", lambda cfg: (_ for _ in ()).throw(BadInput("a mistake")))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert refusal() == ("", 2) and waits == [SPEAKS]  # srun's: one speaks for all
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert refusal() == ("error: a mistake\n", 2) and waits == [SPEAKS] * 2  # torchrun's: nobody has ended this one
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert refusal() == ("error: a mistake\n", 2) and waits == [SPEAKS] * 2


def refusal() -> tuple[str, int]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        command.run_command(DictConfig({}))
    return said.getvalue(), ended.value.code


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    """Torchrun itself is a fork; it starts an interpreter for each rank."""
    return warm.run([sys.executable, *TORCHRUN, "-m", "jobs.generate", *words], timeout=200)
