"""What a command and its workers import before the first sample, each process as users start it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.store.scores import ScoreDir
from tests.export.runs import finished_run, lines
from tests.model import original_layout
from tests.support import SMALL, command, generate, tar_hashes
from tests.tiny_pipelines import WIDTH, save


def imported_by(words: list[str], logs: Path) -> list[str]:
    """Run a command with two workers, and return what all of its processes imported."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}  # a line on each import
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    said = [log.read_text() for log in logs.glob("*-worker*.log")]
    assert len(said) == 2 and all("import time:" in log for log in said)
    lines = "\n".join([done.stderr, *said]).splitlines()
    return [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]


@pytest.mark.slow
def test_libraries_are_imported_once_and_what_is_not_needed_never(tmp_path: Path) -> None:
    words = ("prompt_file=prompts/shapes.txt", "total_prompt_num=2", *SMALL, "shard_size=1", "ngpu=2")
    run = tmp_path / "new" / "demo-shapes"
    imported = imported_by(command(*words, f"output_base_path={tmp_path}/new"), run / "logs")
    for name in ("hydra", "torch", "transformers", "transformers.modeling_utils", "sympy"):
        assert imported.count(name) == 1, name
    for name in ("torch._dynamo.convert_frame", "torch.distributed.tensor", "torch.distributed.fsdp"):
        assert name not in imported, name
    assert "scipy.linalg" not in imported

    # This command, a fork of a process that has imported all of it, makes the same bytes.
    assert generate(*words, f"output_base_path={tmp_path}/old").returncode == 0
    assert tar_hashes(run) == tar_hashes(tmp_path / "old" / "demo-shapes")


@pytest.mark.slow
def test_to_measure_pixels_takes_no_library_of_models(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lines(6)).directory
    words = command(str(run.path), "scorers=[basic]", "ngpu=2", "device=cpu", module="jobs.score")
    imported = imported_by(words, ScoreDir(run, "basic").logs)
    assert imported.count("torch") == 1
    assert not {"diffusers", "transformers", "torch._dynamo"} & {*imported}


@pytest.mark.slow
def test_a_lora_on_a_gguf_file_loads_in_what_is_forked(tmp_path: Path) -> None:
    """Where libraries find less imported than in a process of their own, such as that of the other tests of these."""
    save("flux", tmp_path / "flux")
    weights = load_file(tmp_path / "flux/transformer/diffusion_pytorch_model.safetensors")
    original_layout.write_gguf(weights, tmp_path / "flux.gguf")
    layer = "transformer.transformer_blocks.0.attn.to_q"
    pair = {f"{layer}.lora_A.weight": torch.ones(2, WIDTH), f"{layer}.lora_B.weight": torch.ones(WIDTH, 2)}
    save_file(pair, tmp_path / "style.safetensors")
    model = (
        "model=flux",
        f"model.path={tmp_path}/flux",
        "model.dtype=float32",
        f"model.transformer={tmp_path}/flux.gguf",
    )
    sizes = ("height=32", "width=32", "num_inference_steps=2", "total_prompt_num=1", "batch_size=1", "device=cpu")
    lora = f"model.loras=[{{path: {tmp_path}/style.safetensors}}]"
    words = command(*model, lora, *sizes, f"output_base_path={tmp_path}/runs", "exp_name=run", "report=false")
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert len(tar_hashes(tmp_path / "runs" / "run")) == 1


@pytest.mark.slow
def test_an_interrupted_command_says_that_and_no_more(tmp_path: Path) -> None:
    """Not of semaphores either, as tqdm makes one for its bars, in the command and in each worker."""
    words = command(*SMALL, "samples_per_prompt=999", "shard_size=999", f"output_base_path={tmp_path}", "exp_name=run")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if list((tmp_path / "run" / "work").glob("*.jsonl")) and "1/" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "interrupted: run the same command again" in said and "resource_tracker" not in said
