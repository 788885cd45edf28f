"""Whether pictures and clips of the embedded models show what their sentences say, by readers that know no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def shapes(media: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Sequence[Any]]:
    """Return whether each sample shows all of its sentence, and which aspects are wrong, like ``shapes relation``.

    Both are null of prompts that are no such sentences.

    Args:
        media: uint8 (n, height, width, 3) or (n, frames, height, width, 3).
        rows: with "prompt".
    """
    import torch

    from jobs.model.demo.scenes import image, image_reader, video, video_reader

    clips = media.ndim == 5
    read: Any = video_reader.read_clip if clips else image_reader.read
    judge: Any = video_reader.judge_clip if clips else image_reader.judge
    parse = video.parse if clips else image.parse
    wrong: list[str | None] = []
    for one, row in zip(media, rows, strict=True):
        try:
            scene = parse(row["prompt"])
        except ValueError:
            wrong.append(None)
            continue
        judged = judge(read(torch.from_numpy(one.copy())), scene)
        wrong.append(" ".join(aspect for aspect, right in judged.items() if not right))
    return {"shows_prompt": [None if said is None else not said for said in wrong], "shows_wrong": wrong}
