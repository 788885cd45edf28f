"""The models: the denoisers of public models at their real sizes, with random weights, in their real pipelines.

Nothing is downloaded: the numbers of each config are written down here. Text encoders and VAE are left out; random
embeddings go in and latents come out.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Rand = Callable[..., torch.Tensor]  # shape -> random numbers on the device, in the denoiser's dtype


@dataclass(frozen=True)
class Scale:
    """Shrinks what a model is made of; 1 is the real size."""

    factor: float

    def count(self, full: int, least: int = 1) -> int:
        """Scale a number of blocks, heads, tokens or widths."""
        return max(least, round(full * self.factor))

    def side(self, full: int, dimensions: int = 2) -> int:
        """Scale the pixels of one side to a multiple of 16; the tokens shrink by the factor over so many dimensions."""
        return 16 * max(2, round(full / 16 * self.factor ** (1 / dimensions)))

    def frames(self, full: int) -> int:
        """Scale the frames of a video whose latents hold every fourth one and the first."""
        return 4 * max(1, round((full - 1) / 4 * self.factor ** (1 / 3))) + 1


@dataclass(frozen=True)
class Size:
    """One model at one scale.

    Attributes:
        config: What its denoiser is built from.
        call: Height, width and number of frames of the pipeline's call.
        text_tokens: Length of the prompt's embeddings.
        feature: Shape of what a forecast gives, for one call of the denoiser.
    """

    config: dict[str, Any]
    call: dict[str, int]
    text_tokens: int
    feature: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        title: Its name and size in the report.
        source: The id of the public model whose config this is.
        denoiser, pipeline, scheduler: Names of classes of diffusers.
        scheduler_args: Arguments of the scheduler, from the same public model.
        size: Gives its size at a scale.
        inputs: Gives embeddings and guidance for the pipeline's call.
    """

    title: str
    source: str
    denoiser: str
    pipeline: str
    scheduler: str
    scheduler_args: dict[str, Any]
    size: Callable[[Scale], Size]
    inputs: Callable[[Size, Rand], dict[str, Any]]

    def denoiser_class(self) -> Any:
        """Return the class of the denoiser."""
        import diffusers

        return getattr(diffusers, self.denoiser)


def build(model: Model, size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    """Make the pipeline with a denoiser of random weights, made directly on the device in ``dtype``.

    As ``from_pretrained`` does it: under ``dtype`` as the default, but for the modules that diffusers keeps in float32.
    """
    import diffusers

    torch.manual_seed(0)
    with default_dtype(dtype), device:
        denoiser = model.denoiser_class()(**size.config)
    wide = set(denoiser._keep_in_fp32_modules or ())
    for name, parameter in denoiser.named_parameters():
        if wide.intersection(name.split(".")):
            parameter.data = parameter.data.float()
    denoiser.to(device).eval()

    pipeline_class = getattr(diffusers, model.pipeline)
    scheduler = getattr(diffusers, model.scheduler)(**model.scheduler_args)
    parameters = inspect.signature(pipeline_class.__init__).parameters
    parts: dict[str, Any] = {name: None for name, one in parameters.items() if one.default is one.empty}
    del parts["self"]
    parts |= {"scheduler": scheduler, "unet" if "unet" in parts else "transformer": denoiser}
    if "add_watermarker" in parameters:
        parts["add_watermarker"] = False
    pipe = pipeline_class(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call_arguments(
    model: Model, size: Size, device: torch.device, dtype: torch.dtype, batch: int = 1
) -> dict[str, Any]:
    """Return what the pipeline is called with for so many samples, all but the number of steps and the noise."""

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)

    many = "num_videos_per_prompt" if "num_frames" in size.call else "num_images_per_prompt"
    return {**size.call, **model.inputs(size, rand), many: batch, "output_type": "latent"}


def last_query(denoiser: nn.Module) -> nn.Module:
    """Return the last block's query projection: no method calls it on a step that it saves."""
    return [module for name, module in denoiser.named_modules() if name.endswith(".to_q")][-1]


def denoiser_of(pipe: Any) -> nn.Module:
    """Return the transformer or UNet of a pipeline."""
    return getattr(pipe, "transformer", None) or pipe.unet


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make weights in that dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
