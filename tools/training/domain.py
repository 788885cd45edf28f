"""What an embedded model is trained for: its sentences, the samples they describe, and how those are read back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from jobs.model.demo.scenes import image as picture_scenes
from jobs.model.demo.scenes import image_reader as picture_reader
from jobs.model.demo.scenes import video as clip_scenes
from jobs.model.demo.scenes import video_reader as clip_reader
from tools.training.image import draw as pictures
from tools.training.text import MAX_TOKENS
from tools.training.video import draw as clips


@dataclass(frozen=True)
class Domain:
    """All that a model can be asked for.

    Attributes:
        sample_scenes: (n, generator, held_out) -> int64 (n, columns): scenes that training may show, or never shows.
        caption: A scene's sentence.
        words: Every word of the sentences.
        draw: (scenes, generator) -> float32 (n, 3, [frames,] height, width) in -1..1.
        read: uint8 ([frames,] height, width, 3) -> what that sample shows.
        judge: (what is shown, scene) -> whether each aspect is as asked.
        call: Guidance scale -> size and guidance as arguments of the pipeline.
    """

    sample_scenes: Callable[..., Tensor]
    caption: Callable[[Tensor], str]
    words: Callable[[], list[str]]
    draw: Callable[..., Tensor]
    read: Callable[[Tensor], Any]
    judge: Callable[[Any, Tensor], dict[str, bool]]
    call: Callable[[float], dict[str, Any]]


def _picture_call(guidance: float) -> dict[str, Any]:
    """FluxPipeline's guidance_scale is an input of distilled models; classifier-free guidance is true_cfg_scale."""
    settings: dict[str, Any] = {"height": pictures.SIZE, "width": pictures.SIZE, "true_cfg_scale": guidance}
    return settings | {"max_sequence_length": MAX_TOKENS} | ({"negative_prompt": ""} if guidance > 1 else {})


def _unet_call(guidance: float) -> dict[str, Any]:
    return {"height": pictures.SIZE, "width": pictures.SIZE, "guidance_scale": guidance}


def _clip_call(guidance: float) -> dict[str, Any]:
    size = {"height": clips.SIZE, "width": clips.SIZE, "num_frames": clips.FRAMES}
    return {**size, "guidance_scale": guidance, "max_sequence_length": MAX_TOKENS}


IMAGE = Domain(
    picture_scenes.sample_scenes,
    picture_scenes.caption,
    picture_scenes.words,
    pictures.draw,
    picture_reader.read,
    picture_reader.judge,
    _picture_call,
)
UNET = replace(IMAGE, call=_unet_call)
VIDEO = Domain(
    clip_scenes.sample_scenes,
    clip_scenes.caption,
    clip_scenes.words,
    clips.draw,
    clip_reader.read_clip,
    clip_reader.judge_clip,
    _clip_call,
)
