"""Tiny random pipelines of every family in the table, and an oracle for what they should forecast.

The pipelines have no text encoders and no VAE: embeddings in, latents out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)

STEPS = 9  # warm-up 3: evaluates 0 1 2 4 6 and forecasts 3 5 7 8


def embeddings(batch: int, *shape: int, seed: int = 0) -> torch.Tensor:
    """Stands in for a text encoder: each sample's numbers are its own, whatever the batch."""
    generators = [torch.Generator().manual_seed(1000 * seed + sample) for sample in range(batch)]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


@dataclass(frozen=True)
class Family:
    """One family: how to make its tiny pipeline, and how to call it."""

    name: str
    make: Callable[[], Any]
    arguments: Callable[[int, bool], dict]  # (batch, guidance) -> embeddings and guidance options
    apart: bool  # guidance calls the denoiser twice a step, rather than once with twice the rows

    def __str__(self) -> str:
        return self.name

    def branches(self, guidance: bool) -> int:
        return 2 if guidance and self.apart else 1

    def run(self, pipe: Any, *, batch: int = 1, guidance: bool = True, size: int = 32, **options: Any) -> torch.Tensor:
        """Calls the pipeline; returns its latents."""
        frames = {"num_frames": 5} if "Video" in type(pipe).__name__ or "Wan" in type(pipe).__name__ else {}
        arguments = {
            **self.arguments(batch, guidance),
            **frames,
            "height": size,
            "width": size,
            "num_inference_steps": STEPS,
            "generator": [torch.Generator().manual_seed(sample) for sample in range(batch)],
            "output_type": "latent",
            **options,
        }
        return pipe(**arguments)[0]


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_flux() -> FluxPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    return quiet(FluxPipeline(scheduler=FlowMatchEulerDiscreteScheduler(), transformer=transformer.eval(), **none))


def flux_arguments(batch: int, guidance: bool) -> dict:
    arguments: dict[str, Any] = {
        "prompt_embeds": embeddings(batch, 6, 32),
        "pooled_prompt_embeds": embeddings(batch, 32),
    }
    if guidance:
        arguments |= {
            "true_cfg_scale": 3.0,
            "negative_prompt_embeds": embeddings(batch, 6, 32, seed=1),
            "negative_pooled_prompt_embeds": embeddings(batch, 32, seed=1),
        }
    return arguments


def make_sd3() -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        out_channels=4,
    )
    names = (
        "vae",
        "text_encoder",
        "tokenizer",
        "text_encoder_2",
        "tokenizer_2",
        "text_encoder_3",
        "tokenizer_3",
    )
    return quiet(
        StableDiffusion3Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            transformer=transformer.eval(),
            **dict.fromkeys(names),
        )
    )


def sd3_arguments(batch: int, guidance: bool) -> dict:
    return {
        "guidance_scale": 4.0 if guidance else 0.0,
        "prompt_embeds": embeddings(batch, 6, 32),
        "pooled_prompt_embeds": embeddings(batch, 32),
        "negative_prompt_embeds": embeddings(batch, 6, 32, seed=1),
        "negative_pooled_prompt_embeds": embeddings(batch, 32, seed=1),
    }


def make_sdxl() -> StableDiffusionXLPipeline:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=32,
    )
    names = ("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    return quiet(
        StableDiffusionXLPipeline(
            unet=unet.eval(),
            scheduler=EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1),
            add_watermarker=False,
            **dict.fromkeys(names),
        )
    )


def make_wan() -> WanPipeline:
    torch.manual_seed(0)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=32,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
    )
    return quiet(
        WanPipeline(
            scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
            transformer=transformer.eval(),
            **dict.fromkeys(("vae", "text_encoder", "tokenizer")),
        )
    )


def wan_arguments(batch: int, guidance: bool) -> dict:
    return {
        "guidance_scale": 5.0 if guidance else 1.0,
        "prompt_embeds": embeddings(batch, 6, 32),
        "negative_prompt_embeds": embeddings(batch, 6, 32, seed=1),
    }


def make_hunyuan() -> HunyuanVideoPipeline:
    torch.manual_seed(0)
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    names = ("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    return quiet(
        HunyuanVideoPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
            transformer=transformer.eval(),
            **dict.fromkeys(names),
        )
    )


def hunyuan_arguments(batch: int, guidance: bool) -> dict:
    def texts(prefix: str, seed: int) -> dict:
        return {
            f"{prefix}prompt_embeds": embeddings(batch, 6, 16, seed=seed),
            f"{prefix}pooled_prompt_embeds": embeddings(batch, 8, seed=seed),
            f"{prefix}prompt_attention_mask": torch.ones(batch, 6),
        }

    return texts("", 0) | (texts("negative_", 1) | {"true_cfg_scale": 2.0} if guidance else {})


FAMILIES = {
    family.name: family
    for family in (
        Family("flux", make_flux, flux_arguments, apart=True),
        Family("sd3", make_sd3, sd3_arguments, apart=False),
        Family("sdxl", make_sdxl, sd3_arguments, apart=False),
        Family("wan", make_wan, wan_arguments, apart=True),
        Family("hunyuan", make_hunyuan, hunyuan_arguments, apart=True),
    )
}


def oracle(features: np.ndarray, evaluated: tuple[int, ...], step: int, *, w: float, lam: float, m: int, horizon: int):
    """Fits the ridge regression by least squares on the augmented system, in float64: (K, F) -> (F,)."""

    def design(steps):
        angle = np.arccos(2 * np.asarray(steps, dtype=np.float64) / horizon - 1)
        return np.cos(np.outer(angle, np.arange(m + 1)))

    system = np.vstack([design(evaluated), np.sqrt(lam) * np.eye(m + 1)])
    targets = np.vstack([features, np.zeros((m + 1, features.shape[1]))])
    coefficients = np.linalg.lstsq(system, targets, rcond=None)[0]
    slope = (features[-1] - features[-2]) / (evaluated[-1] - evaluated[-2])
    line = features[-1] + (step - evaluated[-1]) * slope
    return w * (design([step]) @ coefficients)[0] + (1 - w) * line
