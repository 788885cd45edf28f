"""Write the trained parts as a pipeline directory that diffusers loads like any other."""

import shutil
from pathlib import Path

import torch

from tools.training import checkpoint, denoisers
from tools.training.denoisers import DenoiserTask


def export(task: DenoiserTask, work: Path, target: Path) -> int:
    """Write the pipeline of the newest checkpoints in half precision, in the place of what is there.

    Args:
        task: What was trained.
        work: Directory with the checkpoints; parts that were not trained yet have random weights.
        target: The pipeline's directory.

    Returns:
        The denoiser's training step.
    """
    denoiser, step = task.new(), 0
    if state := checkpoint.load(work / denoisers.FILE):
        denoiser.load_state_dict(state["average"])
        step = state["step"]
    pipeline = task.new_pipeline(task.load_autoencoder(task.autoencoder, work), denoiser)
    pipeline.to(torch.float16)
    fresh = target.with_name(target.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh, safe_serialization=True)
    for file in fresh.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for its owner alone
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return step
