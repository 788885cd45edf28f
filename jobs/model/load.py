"""Loads a diffusers pipeline, places it, and attaches what a run asks for."""

import logging
import warnings
from contextlib import nullcontext
from functools import partial, wraps
from typing import Any

from jobs.base.checkpoint_json import read_index, text_encoders
from jobs.base.errors import BadInput
from jobs.base.node import one_at_a_time
from jobs.model.checkpoint import Checkpoint
from jobs.model.converted import find_converted
from jobs.model.embeddings import Embeddings
from jobs.model.forecast import Forecast
from jobs.model.handover import Handover, decodes_apart
from jobs.model.kernels import compile_denoiser, set_attention
from jobs.model.loras import attach_loras
from jobs.model.padding import drop_padding
from jobs.model.parts import Part, load_part
from jobs.model.pipeline import BatchPipeline
from jobs.model.quantization import quantization_config
from jobs.model.single_file import load_single_file
from jobs.model.tokens import TokenCounter
from jobs.model.weights import weight_bytes
from jobs.options.degrees import Degrees
from jobs.options.model import ModelOptions
from spectrum.denoisers import IN_PIPELINES

log = logging.getLogger(__name__)

LARGE = 1 << 30  # bytes of weights that are worth waiting for


def load_pipeline(
    model: ModelOptions,
    forecast: Forecast | None,
    checkpoint: Checkpoint,
    *,
    device: str,
    degrees: Degrees | None = None,
    group: Any = None,
    keep_flagged: bool = False,
) -> BatchPipeline:
    """Load a pipeline onto ``device`` and attach the forecaster.

    Args:
        model: the model's options.
        forecast: how steps are forecast; None for the plain pipeline.
        checkpoint: where the pipeline lies.
        device: torch device that computes.
        degrees: how the ranks of ``group`` share a sample.
        group: the ``jobs.parallel.group.Group`` that this process is in; None if it works alone.
        keep_flagged: whether samples that a safety checker flags are kept.

    Raises:
        BadInput: the checkpoint cannot be read, or the pipeline cannot be forecast.
    """
    import torch

    quieten()
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # what libraries allocate for "cuda" shall not land on the first GPU
    encodes = not (group and group.rank)  # of ranks only the first
    # Of processes that start together on one machine, the first reads the weights into the cache for the others.
    with one_at_a_time(f"load-{str(checkpoint.pin).replace('/', '-')}") if _is_large(checkpoint) else nullcontext():
        # A LoRA looks for the text encoders that it may be for.
        kind = device.partition(":")[0] if model.offload == "none" else None
        pipeline = read_weights(model, checkpoint, encodes or bool(checkpoint.loras), kind)
        if model.offload == "none":
            pipeline.to(device)  # parts that were not read onto it; here, so that they are in main memory once
    set_up(pipeline, model)
    attach_loras(pipeline, checkpoint.loras, model.fuse_loras)
    _place(pipeline, model.offload, device)
    if model.drop_padding:
        drop_padding(pipeline.transformer, degrees.sequence if group and degrees else 1)
    embeddings = Embeddings.of(pipeline) if encodes else None
    branches = _share(pipeline, degrees, group) if group and degrees else None
    for denoiser in _denoisers(pipeline):
        if model.attention:
            set_attention(denoiser, model.attention)
        if model.compile != "none":
            compile_denoiser(denoiser, model.compile)
    attach = partial(_attach, pipeline, forecast) if forecast else None
    attached = attach() if attach else None
    counter = TokenCounter.read(model, checkpoint.folder) if checkpoint.folder else None
    handover = Handover(pipeline) if not group and decodes_apart(pipeline, model) else None
    return BatchPipeline(
        *(pipeline, model, forecast, attached, counter, keep_flagged, group, branches, attach, embeddings, handover)
    )


def set_up(pipeline: Any, model: ModelOptions) -> None:
    """Give a pipeline the scheduler and the way of decoding that the options say."""
    import diffusers

    if model.scheduler or model.scheduler_args:
        scheduler = getattr(diffusers, model.scheduler) if model.scheduler else type(pipeline.scheduler)
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **model.scheduler_args)
    pipeline.set_progress_bar_config(disable=True)
    if model.vae_dtype not in (None, model.dtype) and model.fps is None:  # pipelines of clips do it themselves
        _convert_latents(pipeline.vae)
    if model.vae_tiling:
        set_tiling(pipeline, True)


def _convert_latents(vae: Any) -> None:
    """Have an autoencoder take latents in another dtype than its own."""
    decode = vae.decode

    @wraps(decode)
    def converted(latents: Any, *args: Any, **kwargs: Any) -> Any:
        return decode(latents.to(vae.dtype), *args, **kwargs)

    vae.decode = converted


def set_tiling(pipeline: Any, on: bool) -> None:
    """Have the autoencoder decode in tiles and one sample at a time, or as it is."""
    if on:
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
    else:
        pipeline.vae.disable_slicing()
        pipeline.vae.disable_tiling()


def _is_large(checkpoint: Checkpoint) -> bool:
    return weight_bytes(checkpoint) > LARGE


def quieten() -> None:
    """Keep diffusers and transformers from saying what this project says in its own words, or not at all."""
    import diffusers
    import transformers

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")  # of pipelines' calls of its own


def read_weights(model: ModelOptions, checkpoint: Checkpoint, encodes: bool = True, device: str | None = None) -> Any:
    """Return a pipeline with its weights, otherwise as diffusers makes it.

    Args:
        model: the model's options.
        checkpoint: where the pipeline lies.
        encodes: whether its text encoders are loaded.
        device: kind of device that weights are read onto, tensor by tensor: "cuda" is the current one. Weights that are
            quantised on the way, single files and parts from elsewhere are in main memory, as all are with None.

    Raises:
        BadInput: it cannot be read.
    """
    import diffusers
    import torch

    dtype = getattr(torch, model.dtype)
    dtypes = {"default": dtype, "vae": getattr(torch, model.vae_dtype)} if model.vae_dtype else dtype
    more: dict[str, Any] = {"variant": checkpoint.variant} if checkpoint.variant else {}
    index = read_index(checkpoint.folder) if checkpoint.folder else {}
    if model.quantization:
        more["quantization_config"] = quantization_config(model.quantization, index, dtype)
    elif device and not checkpoint.single:
        more["device_map"] = device
    if not encodes:
        more.update(dict.fromkeys(text_encoders(name for name, part in index.items() if isinstance(part, list))))
    try:
        for part in checkpoint.parts:
            own = dtypes["vae"] if part.name == "vae" and isinstance(dtypes, dict) else dtype
            more[part.name] = load_part(part, index, checkpoint.folder, own)
        if checkpoint.single:
            if "vae" not in more and isinstance(dtypes, dict):  # such files are loaded in one dtype
                vae = Part("vae", str(checkpoint.single.file), checkpoint.single.file, "")
                more["vae"] = load_part(vae, index, checkpoint.folder, dtypes["vae"])
            return load_single_file(checkpoint.single, index, dtype, more)
        converted = find_converted(model, checkpoint)
        if converted:
            log.info("weights are read from %s", converted)
            more.pop("variant", None)
        return diffusers.DiffusionPipeline.from_pretrained(
            converted or checkpoint.folder, dtype=dtypes, local_files_only=True, **more
        )
    except OSError as error:
        reason = str(error).strip().split("\n")[0]
        raise BadInput(f"model.path {model.path} could not be loaded: {reason}") from error


def _share(pipeline: Any, degrees: Degrees, group: Any) -> Any:
    """Split the pipeline's work among the ranks of a group; return what splits guidance, if that is split."""
    from jobs.parallel.decode import SplitDecoder
    from jobs.parallel.denoiser import make_mesh, share_denoiser
    from jobs.parallel.guidance import Branches
    from jobs.parallel.text import SharedText

    SharedText(pipeline, group.rank, group.device)
    mesh = make_mesh(degrees, group.device)
    denoisers = _denoisers(pipeline)
    if degrees.sequence > 1:
        for denoiser in denoisers:
            share_denoiser(denoiser, degrees, mesh, group.device)
    SplitDecoder(pipeline.vae, group.rank, group.size)
    return Branches(pipeline, denoisers, mesh) if degrees.cfg > 1 else None


def _place(pipeline: Any, offload: str, device: str) -> None:
    """Have the model's parts fetched to the device when they are needed, unless it is there."""
    import torch

    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    elif offload == "group":
        # The autoencoder stays: pipelines change its dtype for decoding, which the copies in main memory do not follow.
        pipeline.enable_group_offload(
            torch.device(device), offload_type="leaf_level", use_stream=True, exclude_modules=["vae"]
        )


def _denoisers(pipeline: Any) -> list[Any]:
    parts = (getattr(pipeline, name, None) for name in IN_PIPELINES)
    return [part for part in parts if part is not None]


def _attach(pipeline: Any, forecast: Forecast) -> Any:
    import spectrum

    try:
        return spectrum.attach(
            pipeline, forecast.config, rule=forecast.rule, schedule=forecast.schedule, target=forecast.target
        )
    except spectrum.SpectrumError as error:
        raise BadInput(f"algo=spectrum cannot be used with this model: {error} (algo=nocache can)") from error
