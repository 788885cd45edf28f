"""Loads the diffusers pipeline of a run and calls it for one batch."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.model.checkpoint import Checkpoint
from jobs.model.forecast import Forecast
from jobs.options.degrees import Degrees
from jobs.options.schema import ModelOptions


class SampleFailed(Exception):
    """One sample's output is unusable; the message is the reason that goes into the sidecar."""


@dataclass
class BatchPipeline:
    """A loaded pipeline that makes a batch a call, with Spectrum attached or not.

    Attributes:
        pipeline: a diffusers text-to-image or text-to-video pipeline.
        model: the model's options.
        spectrum: handle of the attached forecaster, or None for the plain pipeline.
        counted: evaluated steps of the last call that succeeded, as Spectrum counted them.
        group: the ``jobs.parallel.group.Group`` whose ranks make each batch together, or None.
        branches: ``jobs.parallel.guidance.Branches``, where ranks share the branches of guidance.
    """

    pipeline: Any
    model: ModelOptions
    spectrum: Any = None
    counted: int = 0
    group: Any = None
    branches: Any = None

    @property
    def sampler(self) -> str:
        """Class name of the scheduler."""
        return type(self.pipeline.scheduler).__name__

    def evaluated_steps(self, num_inference_steps: int) -> int:
        """Return the steps on which the network ran in the last call that succeeded, which was for so many."""
        return self.counted if self.spectrum else num_inference_steps

    def __call__(self, batch: list[Sample]) -> list[np.ndarray]:
        """Make one batch: samples that share size, steps and guidance. In a group, all ranks call it alike.

        Returns:
            One uint8 array a sample: (height, width, 3), or (frames, height, width, 3) of a clip. Rank 0 of a group
            gets them, the others an empty list.

        Raises:
            SampleFailed: the model's output is not finite (a single sample's batch tells which).
        """
        if self.group and self.group.rank == 0:
            self.group.announce([sample.index for sample in batch])
        if self.branches:
            self.branches.restart()
        with self.group.together() if self.group else nullcontext():
            output = self._call_pipeline(batch)
        if self.group and self.group.rank:
            return []
        if not np.isfinite(output).all():
            raise SampleFailed("the model's output is not finite: lower the guidance, or use a wider dtype")
        if self.spectrum:
            self.counted = self.spectrum.statistics.evaluated_steps
        return list((output * 255).round().astype(np.uint8))

    def _call_pipeline(self, batch: list[Sample]) -> np.ndarray:
        """Return the batch's images or clips, float (batch, [frames,] height, width, 3) from 0 to 1."""
        import torch

        options = batch[0].options  # shared by the batch
        makes_clips = self.model.fps is not None
        asked: dict[str, Any] = {
            "height": options.height,
            "width": options.width,
            "num_inference_steps": options.num_inference_steps,
            self.model.guidance_argument: options.guidance_scale,
        }
        if self.model.negative_prompts:
            asked["negative_prompt"] = self._negative_prompts(batch)
        if makes_clips:
            asked["num_frames"] = options.num_frames
        result = self.pipeline(
            prompt=[sample.prompt for sample in batch],
            generator=[torch.Generator("cpu").manual_seed(sample.seed) for sample in batch],
            output_type="np",
            **asked,
            **self.model.call,
        )
        output: np.ndarray = result.frames if makes_clips else result.images
        return output

    def _negative_prompts(self, batch: list[Sample]) -> list[str] | None:
        """Return the batch's negative prompts: one for every sample, or none (``Sample.batch_settings``).

        SDXL has something of its own, all zeros, for "none"; other pipelines take the empty text, and some of these
        guide only if they are given one.
        """
        given = [sample.options.negative_prompt for sample in batch]
        zeros = self.pipeline.config.get("force_zeros_for_empty_prompt", False)
        return None if zeros and not any(given) else given


def load_pipeline(
    model: ModelOptions,
    forecast: Forecast | None,
    checkpoint: Checkpoint,
    *,
    device: str,
    degrees: Degrees | None = None,
    group: Any = None,
) -> BatchPipeline:
    """Load a pipeline onto ``device`` and attach the forecaster.

    Args:
        model: the model's options.
        forecast: how steps are forecast; None for the plain pipeline.
        checkpoint: where the pipeline lies.
        device: torch device that computes.
        degrees: how the ranks of ``group`` share a sample.
        group: the ``jobs.parallel.group.Group`` that this process is in; None if it works alone.

    Raises:
        BadInput: the checkpoint cannot be read, or the pipeline cannot be forecast.
    """
    import diffusers

    _quieten()
    pipeline = _from_pretrained(model, checkpoint)
    if model.scheduler or model.scheduler_args:
        scheduler = getattr(diffusers, model.scheduler) if model.scheduler else type(pipeline.scheduler)
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **model.scheduler_args)
    pipeline.set_progress_bar_config(disable=True)
    if model.vae_tiling:
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
    _place(pipeline, model.offload, device)
    branches = _share(pipeline, degrees, group) if group and degrees else None
    if model.compile:
        for denoiser in _denoisers(pipeline):
            _compile(denoiser)
    attached = _attach(pipeline, forecast) if forecast else None
    return BatchPipeline(pipeline, model, attached, group=group, branches=branches)


def _quieten() -> None:
    import diffusers
    import transformers

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def _from_pretrained(model: ModelOptions, checkpoint: Checkpoint) -> Any:
    import diffusers
    import torch

    dtype = getattr(torch, model.dtype)
    dtypes = {"default": dtype, "vae": getattr(torch, model.vae_dtype)} if model.vae_dtype else dtype
    try:
        return diffusers.DiffusionPipeline.from_pretrained(checkpoint.folder, dtype=dtypes, local_files_only=True)
    except OSError as error:
        reason = str(error).strip().split("\n")[0]
        raise BadInput(f"model.path {model.path} could not be loaded: {reason}") from error


def _share(pipeline: Any, degrees: Degrees, group: Any) -> Any:
    """Split the pipeline's work among the ranks of a group; return what splits guidance, if that is split."""
    from jobs.parallel.decode import SplitDecoder
    from jobs.parallel.denoiser import make_mesh, share_denoiser
    from jobs.parallel.guidance import Branches

    mesh = make_mesh(degrees, group.device)
    denoisers = _denoisers(pipeline)
    if degrees.sequence > 1:
        for denoiser in denoisers:
            share_denoiser(denoiser, degrees, mesh, group.device)
    SplitDecoder(pipeline.vae, group.rank, group.size)
    return Branches(pipeline, denoisers, mesh) if degrees.cfg > 1 else None


def _place(pipeline: Any, offload: str, device: str) -> None:
    """Put the model on the device, or have its parts fetched there when they are needed."""
    import torch

    if offload == "none":
        pipeline.to(device)
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        # The autoencoder stays: pipelines change its dtype for decoding, which the copies in main memory do not follow.
        pipeline.enable_group_offload(
            torch.device(device), offload_type="leaf_level", use_stream=True, exclude_modules=["vae"]
        )


def _compile(denoiser: Any) -> None:
    """Compile each kind of block, anew for each shape.

    Kernels for changing shapes would make a sample's bytes depend on which shapes the process had met before.
    """
    import torch

    torch._dynamo.config.recompile_limit = 1000  # beyond it, calls would run uncompiled without a word
    if denoiser._repeated_blocks:
        denoiser.compile_repeated_blocks(dynamic=False)
    else:  # a class that does not say which blocks repeat, such as SD3's
        from spectrum.denoisers import spec_of

        for stack in spec_of(denoiser).stacks:
            for block in getattr(denoiser, stack):
                block.compile(dynamic=False)


def _denoisers(pipeline: Any) -> list[Any]:
    parts = (getattr(pipeline, name, None) for name in ("transformer", "transformer_2", "unet"))
    return [part for part in parts if part is not None]


def _attach(pipeline: Any, forecast: Forecast) -> Any:
    import spectrum

    try:
        return spectrum.attach(pipeline, forecast.config, rule=forecast.rule, schedule=forecast.schedule)
    except spectrum.SpectrumError as error:
        raise BadInput(f"algo=spectrum cannot be used with this model: {error} (algo=nocache can)") from error


def versions(makes_clips: bool) -> dict[str, str]:
    """Return the versions of the libraries that decide a sample's bytes."""
    from importlib.metadata import version

    names = ("torch", "diffusers", "transformers", "numpy", "pillow", "ftfy")
    found = {name: version(name) for name in names}
    if makes_clips:
        import imageio_ffmpeg

        found["ffmpeg"] = imageio_ffmpeg.get_ffmpeg_version()
    return found
