"""What a sample's json says of the checkpoint and the pipeline it was made with."""

from typing import Any

from jobs.dataset.record import as_text
from jobs.model.checkpoint import EMBEDDED, Checkpoint
from jobs.model.quantization import described
from jobs.options.model import ModelOptions


def provenance(model: ModelOptions, checkpoint: Checkpoint, pipeline: Any) -> dict[str, Any]:
    """Return what plain diffusers needs to load the same pipeline; the same fields for every model.

    Args:
        model: the model's options.
        checkpoint: where it lies; of a directory only the digest of its contents is said, wherever it lies.
        pipeline: the loaded diffusers pipeline.
    """
    scheduler = {name: value for name, value in pipeline.scheduler.config.items() if not name.startswith("_")}
    return {
        "model": model.name,
        "checkpoint": checkpoint.path if not checkpoint.local or checkpoint.path.startswith(EMBEDDED) else "",
        "revision": checkpoint.pin,
        "pipeline": type(pipeline).__name__,
        "scheduler": type(pipeline.scheduler).__name__,
        "scheduler_config": as_text(scheduler),
        "variant": checkpoint.variant or "",
        "loras": as_text([{"file": one.path.name, **one.described()} for one in checkpoint.loras]),
        "fuse_loras": model.fuse_loras,
        "quantization": as_text(described(model.quantization)),
        "dtype": model.dtype,
        "vae_dtype": model.vae_dtype or model.dtype,
        "vae_tiling": model.vae_tiling,
    }
