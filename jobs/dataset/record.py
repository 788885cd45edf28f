"""A sample's json and its members in the tar."""

import json
from typing import Any

from jobs.dataset.layout import Sample


def sample_json(
    sample: Sample, common: dict[str, Any], shard: int, evaluated_steps: int, fps: int | None = None
) -> bytes:
    """Return the sample's json: one fixed schema for the whole dataset, no nulls, floats always written as floats.

    Args:
        sample: what was made.
        common: what all samples of the run share (model, revision, sampler, dtype, algo, versions).
        shard: the shard it is in.
        evaluated_steps: denoising steps of this sample on which the network ran.
        fps: of a clip, frames a second.
    """
    own = {name: value for name, value in vars(sample.options).items() if value is not None}
    num_frames = own.pop("num_frames")
    clip = {"num_frames": num_frames, "fps": fps, "duration": num_frames / fps} if fps else {}
    fields = {
        "key": sample.key,
        "prompt": sample.prompt,
        "negative_prompt": own.pop("negative_prompt"),
        "id": sample.id,
        "sample_index": sample.index,
        "prompt_index": sample.prompt_index,
        "repeat": sample.repeat,
        "shard": shard,
        "seed": sample.seed,
        "height": own.pop("height"),
        "width": own.pop("width"),
        **clip,  # duration in seconds
        "num_inference_steps": own.pop("num_inference_steps"),
        "evaluated_steps": evaluated_steps,
        **own,
        **common,
    }
    if sample.metadata:  # all samples of a dataset have the same columns, or none has any
        fields["metadata"] = sample.metadata
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def sample_members(sample: Sample, media: bytes, extension: str, info: bytes) -> dict[str, bytes]:
    """Return the members of one sample, in the order they stand in the tar."""
    return {extension: media, "txt": sample.prompt.encode(), "json": info}
