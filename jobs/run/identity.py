"""What decides the bytes of a run's tars, and how two such runs differ."""

import hashlib
import json
from typing import Any

from jobs.base.differences import differences
from jobs.dataset.layout import Layout
from jobs.media.image import ImageFormat, MediaFormat
from jobs.media.video import VideoFormat
from jobs.model.checkpoint import Checkpoint
from jobs.model.forecast import Forecast
from jobs.options.schema import SCHEDULE, Options

# Of a model's options; its defaults for samples stand at the root, and the rest decides no byte.
_MODEL = (
    *("name", "path", "dtype", "vae_dtype", "vae_tiling", "scheduler", "scheduler_args"),
    *("guidance_argument", "negative_prompts", "variant", "fuse_loras", "quantization", "attention", "compile", "call"),
)

_BATCHES = "of like samples, wherever they are in a shard"


def identity_of(
    options: Options, checkpoint: Checkpoint, forecast: Forecast | None, layout: Layout, media: MediaFormat
) -> dict[str, Any]:
    """Return, in json types and by the options' names, what decides the bytes; what is not set is null or left out."""
    model = {name: getattr(options.model, name) for name in _MODEL}
    if checkpoint.local:
        del model["path"]  # the revision is a digest of the directory, wherever it lies
    algo = forecast.described() if forecast else {"name": "nocache"}
    schedule = {name: algo.pop(name, None) for name in SCHEDULE}
    count = len(layout.table)
    return {
        "prompts": {"count": count, "sha256": layout.table.digest(count)},
        "model": {
            **model,
            **({"drop_padding": True} if options.model.drop_padding else {}),
            "loras": [one.described() for one in checkpoint.loras],
            "revision": checkpoint.pin,
        },
        "algo": algo,
        **schedule,
        **vars(layout.defaults),
        **_media(media),
        "seed": options.seed,
        "samples_per_prompt": options.samples_per_prompt,
        **({"raised": [one._asdict() for one in layout.raised]} if layout.raised else {}),
        "key_prefix": options.key_prefix,
        "flagged": options.flagged,
        "shard_size": options.shard_size,
        "batch_size": options.batch_size,
        "cpu_threads": options.cpu_threads,
        "parallel": options.parallel.shared,
        **({"oom": options.oom} if options.oom == "adapt" else {}),
        **({"batches": _BATCHES} if layout.is_mixed and layout.batch_size > 1 else {}),
    }


def run_id(name: str, identity: dict[str, Any], first_prompt: str) -> str:
    """Return 16 hexadecimal digits that tell a run from others; the same however many samples it has by now."""
    rest = {key: value for key, value in identity.items() if key not in ("prompts", "raised")}
    if raised := identity.get("raised"):
        rest["samples_per_prompt"] = raised[0]["samples_per_prompt"]
    text = json.dumps([name, rest, first_prompt], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _media(media: MediaFormat) -> dict[str, Any]:
    said = {"mark": media.mark, "parameters": media.parameters}
    if isinstance(media, VideoFormat):
        return {"model.fps": media.fps, "video_crf": media.crf, "video_keyframes": media.keyframes, **said}
    assert isinstance(media, ImageFormat)
    return {"image_format": media.name, "image_quality": media.quality, **said}


def changes(old: dict[str, Any], new: dict[str, Any], layout: Layout, total_prompt_num: int | None) -> list[str]:
    """Return what of a run's options is other than it was, each as the user writes it.

    Args:
        old: the recorded identity.
        new: this command's.
        layout: this command's samples.
        total_prompt_num: as the user gave it.
    """
    before, now = old["prompts"]["count"], new["prompts"]["count"]
    said = _other_names(old, new) + differences(_to_compare(old, new), _to_compare(new, old))
    if now < before and total_prompt_num is not None:
        said.append(f"total_prompt_num={total_prompt_num} takes {now} prompts, of the {before} that it has")
    elif now < before:
        said.append(f"prompt_file had {before} prompts, has {now}")
    elif layout.table.digest(before) != old["prompts"]["sha256"]:
        said.append(f"prompt_file has other prompts, settings or columns among its first {before}")
    elif old.get("batches") != new.get("batches") and old["batch_size"] == new["batch_size"]:
        said.append("an earlier version made its batches, of neighbours only, and these prompts are of mixed kinds")
    elif now > before and said:
        said.append(f"prompt_file or total_prompt_num: had {before} prompts, has {now}")
    return said


def _other_names(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what was chosen by another name: ``algo=``, ``model=``."""
    named = ((group, old[group]["name"], new[group]["name"]) for group in ("algo", "model"))
    return [f"{group} was {before}, is {now}" for group, before, now in named if before != now]


def _to_compare(identity: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return an identity without its prompts, and without what follows from another algorithm or model by name."""
    left_out = {"prompts", "raised", "batches"}
    if identity["algo"]["name"] != other["algo"]["name"]:
        left_out |= {"algo", *SCHEDULE}
    if identity["model"]["name"] != other["model"]["name"]:
        left_out |= {"model"}
    return {name: value for name, value in identity.items() if name not in left_out}
