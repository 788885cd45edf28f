"""What a family of tiny pipelines consists of."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn

STEPS = 9  # warm-up 3: evaluates 0 1 2 4 6 and forecasts 3 5 7 8


def embeddings(batch: int, *shape: int, seed: int = 0) -> torch.Tensor:
    """Stands in for a text encoder: each sample's numbers are its own, whatever the batch."""
    generators = [torch.Generator().manual_seed(1000 * seed + sample) for sample in range(batch)]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def texts(
    *width: int,
    scale: str | None = "guidance_scale",
    off: float = 1.0,
    mask: str | None = None,
    dtype: torch.dtype = torch.long,
) -> Callable[[int, bool], dict]:
    """Makes the arguments of most pipelines: embeddings of six tokens, with their masks, and the guidance scale."""

    def arguments(batch: int, guidance: bool) -> dict:
        values: dict[str, Any] = {
            "prompt_embeds": embeddings(batch, 6, *width),
            "negative_prompt_embeds": embeddings(batch, 6, *width, seed=1),
        }
        if scale:
            values[scale] = 4.0 if guidance else off
        if mask:
            values |= dict.fromkeys((mask, f"negative_{mask}"), torch.ones(batch, 6, dtype=dtype))
        return values

    return arguments


def prompts(batch: int, guidance: bool) -> dict:
    """The arguments of pipelines that take nothing but texts."""
    return {
        "prompt": [f"prompt {sample}" for sample in range(batch)],
        "negative_prompt": ["no"] * batch,
        "guidance_scale": 4.0 if guidance else 1.0,
    }


def encode(texts: list[str], *width: int) -> torch.Tensor:
    """Stands in for what such a pipeline does with texts."""
    return torch.cat([embeddings(1, 6, *width, seed=sum(map(ord, text))) for text in texts])


class Autoencoder(nn.Module):
    """What pipelines ask of an autoencoder before it decodes."""

    temporal_compression_ratio = 4
    spatial_compression_ratio = 8
    mel_compression_ratio = 4
    latents_mean, latents_std = torch.zeros(1), torch.ones(1)
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = SimpleNamespace(scale_factor_temporal=4, scale_factor_spatial=8, **config)


def switch_guider(pipe: Any, guidance: bool) -> None:
    """Guidance of the pipelines that have a guider."""
    pipe.guider.enable() if guidance else pipe.guider.disable()


def quiet(pipe: Any) -> Any:
    """The pipeline without its progress bar."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


@dataclass(frozen=True)
class Family:
    """One family: how to make its tiny pipeline, and how to call it.

    Attributes:
        name: What tests call it.
        pipeline: Its text-to-image or text-to-video pipeline.
        denoiser: Makes a tiny denoiser.
        arguments: (batch, guidance) -> embeddings and guidance options.
        apart: Guidance calls the denoiser twice a step, rather than once with twice the rows.
        repeats: The pipeline repeats given embeddings for several samples of a prompt.
        guide: (pipe, guidance) switches guidance where that is no argument of a call.
        scheduler: Makes the scheduler.
        components: What else the pipeline needs, by its name there; all other components are None.
        replaced: Attributes of the pipeline, methods that would call a text encoder for instance.
        call: Arguments of every call.
        pixels: What a size is multiplied with, for autoencoders of higher compression.
    """

    name: str
    pipeline: Any
    denoiser: Callable[[], nn.Module]
    arguments: Callable[[int, bool], dict]
    apart: bool = False
    repeats: bool = True
    guide: Callable[[Any, bool], None] | None = None
    scheduler: Callable[[], Any] = FlowMatchEulerDiscreteScheduler
    components: dict[str, Callable[[], Any]] = field(default_factory=dict)
    replaced: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    pixels: int = 1

    def __str__(self) -> str:
        return self.name

    def make(self) -> Any:
        """The pipeline, with the same weights each time."""
        torch.manual_seed(0)
        denoiser = self.denoiser().eval()
        _wake(denoiser)
        parameters = inspect.signature(self.pipeline.__init__).parameters
        components: dict[str, Any] = {
            name: None for name, value in parameters.items() if name != "self" and value.default is value.empty
        }
        components |= {name: make() for name, make in self.components.items()}
        components |= {"scheduler": self.scheduler(), "unet" if "unet" in parameters else "transformer": denoiser}
        pipe = quiet(self.pipeline(**components))
        for name, value in self.replaced.items():
            setattr(pipe, name, value)
        return pipe

    def branches(self, guidance: bool) -> int:
        """Denoiser calls in a step."""
        return 2 if guidance and self.apart else 1

    @property
    def per_prompt(self) -> str:
        """The argument that asks for several samples of each prompt."""
        names = inspect.signature(self.pipeline.__call__).parameters
        return "num_images_per_prompt" if "num_images_per_prompt" in names else "num_videos_per_prompt"

    def run(self, pipe: Any, *, batch: int = 1, guidance: bool = True, size: int = 32, **options: Any) -> torch.Tensor:
        """Calls the pipeline; returns its latents."""
        arguments = {
            **self.arguments(batch, guidance),
            "height": size * self.pixels,
            "width": size * self.pixels,
            "num_inference_steps": STEPS,
            "generator": [
                torch.Generator().manual_seed(sample) for sample in range(batch * options.get(self.per_prompt, 1))
            ],
            "output_type": "latent",
            **self.call,
            **options,
        }
        if self.guide:
            self.guide(pipe, guidance)
        latents = pipe(**arguments)[0]
        return torch.stack(latents) if isinstance(latents, list) else latents


def _wake(denoiser: nn.Module) -> None:
    """Draws the weights that start at zero, behind which a tiny denoiser would not hear its blocks."""
    for parameter in denoiser.parameters():
        if parameter.is_floating_point() and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
