"""Writes the trained parts as a pipeline directory that diffusers loads like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from . import autoencoder, checkpoint
from .models import Denoiser, new_pipeline


def load_denoiser(work: Path) -> tuple[Denoiser, int]:
    """The averaged weights in `work/denoiser.pt` and their step; random ones and 0 if there are none yet."""
    torch.manual_seed(0)
    model = Denoiser()
    state = checkpoint.load(work / "denoiser.pt")
    if state is None:
        return model.eval(), 0
    model.load_state_dict(state["average"])
    return model.eval(), state["step"]


def export(work: Path, target: Path) -> int:
    """Writes the pipeline of the newest checkpoints in `work` to `target`, in half precision.

    Returns:
        The denoiser's training step.
    """
    denoiser, step = load_denoiser(work)
    pipeline = new_pipeline(autoencoder.load(work), denoiser).to(torch.float16)
    fresh = target.with_name(target.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh, safe_serialization=True)
    for file in fresh.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for its owner alone
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return step
