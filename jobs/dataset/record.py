"""A sample's json and its members in the tar.

The json has the same fields, of the same types, in every run, because readers of several runs take the schema from the
first samples that they meet. What differs in kind from run to run (columns of a prompt file, arguments of a pipeline,
the configuration of a scheduler) is JSON in a text. Nothing is null but in such a text.
"""

import json
from dataclasses import fields
from typing import Any

from jobs.dataset.layout import Sample
from jobs.options.fields import limits_of
from jobs.options.model import SampleOptions

_ABSENT = {one.name: limits_of(SampleOptions, one.name).kind() for one in fields(SampleOptions)}  # 0 or ""


def sample_json(
    sample: Sample, common: dict[str, Any], made: dict[str, Any], *, shard: int, fps: int | None = None
) -> bytes:
    """Return the sample's json; floats are always written as floats.

    Args:
        sample: what was made.
        common: what all samples of the run share.
        made: how this one was made.
        shard: the shard it is in.
        fps: of a clip, frames a second.
    """
    options = {name: _ABSENT[name] if value is None else value for name, value in vars(sample.options).items()}
    num_frames = options.pop("num_frames")
    fields = {
        "key": sample.key,
        "prompt": sample.prompt,
        "negative_prompt": options.pop("negative_prompt"),
        "id": sample.id,
        "sample_index": sample.index,
        "prompt_index": sample.prompt_index,
        "repeat": sample.repeat,
        "shard": shard,
        "seed": sample.seed,
        "height": options.pop("height"),
        "width": options.pop("width"),
        "num_frames": num_frames,
        "fps": fps or 0,  # of an image
        "duration": num_frames / fps if fps else 0.0,  # seconds
        **options,
        **made,
        **common,
        **{name: made[name] for name in made.keys() & common.keys()},  # of this sample it was other than of most
        "metadata": as_text(sample.metadata),
    }
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def as_text(value: Any) -> str:
    """Return JSON for a text field: what has no fixed schema.

    Infinities, which schedulers' configurations have, are written as Python reads them; arrays are lists; objects that
    JSON does not know are their own text.
    """
    return json.dumps(
        value, ensure_ascii=False, default=lambda one: one.tolist() if hasattr(one, "tolist") else str(one)
    )


def sample_members(sample: Sample, media: bytes, extension: str, info: bytes) -> dict[str, bytes]:
    """Return the members of one sample, in the order they stand in the tar."""
    return {extension: media, "txt": sample.prompt.encode(), "json": info}
