"""What decides the bytes of a run's tars."""

from typing import Any

from jobs.dataset.layout import Layout
from jobs.media.image import ImageFormat, MediaFormat
from jobs.media.video import VideoFormat
from jobs.model.checkpoint import Checkpoint
from jobs.model.forecast import Forecast
from jobs.options.schema import Options

# Of a model's options; its defaults for samples stand at the root, and the rest decides no byte.
_MODEL = (
    *("name", "path", "dtype", "vae_dtype", "vae_tiling", "scheduler", "scheduler_args"),
    *("guidance_argument", "negative_prompts", "compile", "call"),
)


def identity_of(
    options: Options, checkpoint: Checkpoint, forecast: Forecast | None, layout: Layout, media: MediaFormat
) -> dict[str, Any]:
    """Return, in json types, what decides the bytes; options that are not set are left out or null."""
    model = {name: getattr(options.model, name) for name in _MODEL}
    if checkpoint.local:
        del model["path"]  # the revision is a digest of the directory, wherever it lies
    return {
        "prompts": {"count": len(layout.table), "sha256": layout.table.digest(len(layout.table))},
        "model": {**model, "revision": checkpoint.revision},
        "algo": forecast.described() if forecast else {"name": "nocache"},
        **vars(layout.defaults),
        **_media(media),
        "seed": options.seed,
        "samples_per_prompt": options.samples_per_prompt,
        "shard_size": options.shard_size,
        "batch_size": options.batch_size,
        "cpu_threads": options.cpu_threads,
        # Only where samples are shared: runs from before they could be go on.
        **({"parallel": options.parallel.shared} if options.parallel.size > 1 else {}),
    }


def _media(media: MediaFormat) -> dict[str, Any]:
    if isinstance(media, VideoFormat):
        return {"fps": media.fps, "video_crf": media.crf}
    assert isinstance(media, ImageFormat)
    return {"image_format": media.name, "image_quality": media.quality}
