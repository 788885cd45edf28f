"""Writes the trained parts as a pipeline directory that diffusers loads like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from torch import nn

from . import checkpoint


def load_average(model: nn.Module, work: Path) -> int:
    """Puts the averaged weights in `work/denoiser.pt` into a denoiser, if there are some yet.

    Returns:
        Their training step, or 0.
    """
    if state := checkpoint.load(work / "denoiser.pt"):
        model.load_state_dict(state["average"])
        return state["step"]
    return 0


def write(pipeline: DiffusionPipeline, target: Path) -> None:
    """Writes a pipeline to `target` in half precision, in the place of what is there."""
    pipeline.to(torch.float16)
    fresh = target.with_name(target.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh, safe_serialization=True)
    for file in fresh.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for its owner alone
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def export_image(work: Path, target: Path) -> int:
    """Writes the image pipeline of the newest checkpoints in `work` to `target`.

    Returns:
        The denoiser's training step.
    """
    from . import autoencoder
    from .models import Denoiser, new_pipeline

    denoiser = Denoiser()
    step = load_average(denoiser, work)
    write(new_pipeline(autoencoder.load(work), denoiser), target)
    return step


def export_video(work: Path, target: Path) -> int:
    """Writes the video pipeline of the newest checkpoints in `work` to `target`.

    Returns:
        The denoiser's training step.
    """
    from . import video_autoencoder
    from .video_models import VideoDenoiser, new_pipeline

    denoiser = VideoDenoiser()
    step = load_average(denoiser, work)
    write(new_pipeline(video_autoencoder.load(work), denoiser), target)
    return step
