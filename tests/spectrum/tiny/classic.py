"""The five families Spectrum was published for, and their kin."""

from typing import Any

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

from tests.spectrum.tiny.family import Family, embeddings


def flux() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
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


def sd3() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
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


def sd3_arguments(batch: int, guidance: bool) -> dict:
    return {
        "guidance_scale": 4.0 if guidance else 0.0,
        "prompt_embeds": embeddings(batch, 6, 32),
        "pooled_prompt_embeds": embeddings(batch, 32),
        "negative_prompt_embeds": embeddings(batch, 6, 32, seed=1),
        "negative_pooled_prompt_embeds": embeddings(batch, 32, seed=1),
    }


def sdxl() -> UNet2DConditionModel:
    return UNet2DConditionModel(
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


def wan() -> WanTransformer3DModel:
    return WanTransformer3DModel(
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


def wan_arguments(batch: int, guidance: bool) -> dict:
    return {
        "guidance_scale": 5.0 if guidance else 1.0,
        "prompt_embeds": embeddings(batch, 6, 32),
        "negative_prompt_embeds": embeddings(batch, 6, 32, seed=1),
    }


def flow_unipc() -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def hunyuan() -> HunyuanVideoTransformer3DModel:
    return HunyuanVideoTransformer3DModel(
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


def hunyuan_arguments(batch: int, guidance: bool) -> dict:
    def texts(prefix: str, seed: int) -> dict:
        return {
            f"{prefix}prompt_embeds": embeddings(batch, 6, 16, seed=seed),
            f"{prefix}pooled_prompt_embeds": embeddings(batch, 8, seed=seed),
            f"{prefix}prompt_attention_mask": torch.ones(batch, 6),
        }

    return texts("", 0) | (texts("negative_", 1) | {"true_cfg_scale": 2.0} if guidance else {})


FAMILIES = [
    Family("flux", FluxPipeline, flux, flux_arguments, apart=True, repeats=False),
    Family("sd3", StableDiffusion3Pipeline, sd3, sd3_arguments, repeats=False),
    Family(
        "sdxl",
        StableDiffusionXLPipeline,
        sdxl,
        sd3_arguments,
        scheduler=lambda: EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1),
        components={"add_watermarker": lambda: False},
    ),
    Family(
        "wan", WanPipeline, wan, wan_arguments, apart=True, repeats=False, scheduler=flow_unipc, call={"num_frames": 5}
    ),
    Family(
        "hunyuan",
        HunyuanVideoPipeline,
        hunyuan,
        hunyuan_arguments,
        apart=True,
        repeats=False,
        scheduler=lambda: FlowMatchEulerDiscreteScheduler(shift=7.0),
        call={"num_frames": 5},
    ),
]
