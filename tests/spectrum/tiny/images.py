"""Image families whose latents are pictures."""

from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)

from tests.spectrum.tiny.family import Family, embeddings, texts


def aura() -> AuraFlowTransformer2DModel:
    return AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=64,
    )


def cogview3() -> CogView3PlusTransformer2DModel:
    return CogView3PlusTransformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        out_channels=4,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=8,
        pos_embed_max_size=8,
        sample_size=8,
    )


def cogview4() -> CogView4Transformer2DModel:
    return CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        out_channels=4,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=8,
        pos_embed_max_size=8,
        sample_size=8,
        rope_axes_dim=(64, 64),
    )


def hunyuan_dit() -> HunyuanDiT2DModel:
    return HunyuanDiT2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        patch_size=2,
        activation_fn="gelu-approximate",
        sample_size=8,
        hidden_size=16,
        num_layers=4,
        mlp_ratio=2.0,
        cross_attention_dim=32,
        cross_attention_dim_t5=16,
        pooled_projection_dim=8,
        text_len=6,
        text_len_t5=4,
    )


def hunyuan_dit_arguments(batch: int, guidance: bool) -> dict:
    def some(prefix: str, seed: int) -> dict:
        return {
            f"{prefix}prompt_embeds": embeddings(batch, 6, 32, seed=seed),
            f"{prefix}prompt_embeds_2": embeddings(batch, 4, 16, seed=seed),
            f"{prefix}prompt_attention_mask": torch.ones(batch, 6),
            f"{prefix}prompt_attention_mask_2": torch.ones(batch, 4),
        }

    return some("", 0) | some("negative_", 1) | {"guidance_scale": 4.0 if guidance else 1.0}


def lumina() -> LuminaNextDiT2DModel:
    return LuminaNextDiT2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=16,
        num_layers=2,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        cross_attention_dim=32,
    )


def lumina2() -> Lumina2Transformer2DModel:
    return Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 4, 4),
        axes_lens=(32, 32, 32),
        cap_feat_dim=32,
    )


def pixart() -> PixArtTransformer2DModel:
    return PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        sample_size=8,
        patch_size=2,
        caption_channels=32,
    )


def sana() -> SanaTransformer2DModel:
    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=4,
    )


def z_image() -> ZImageTransformer2DModel:
    return ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[8, 4, 4],
        axes_lens=[64, 16, 16],
    )


def z_image_arguments(batch: int, guidance: bool) -> dict[str, Any]:
    return {
        "prompt_embeds": list(embeddings(batch, 6, 32)),
        "negative_prompt_embeds": list(embeddings(batch, 6, 32, seed=1)),
        "guidance_scale": 4.0 if guidance else 0.0,
    }


def flow_dpm() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


MASKED = texts(32, mask="prompt_attention_mask")
AS_ASKED = {"use_resolution_binning": False}

FAMILIES = [
    Family("aura", AuraFlowPipeline, aura, MASKED),
    Family("cogview3", CogView3PlusPipeline, cogview3, texts(32), repeats=False, scheduler=CogVideoXDDIMScheduler),
    Family("cogview4", CogView4Pipeline, cogview4, texts(32), apart=True, repeats=False),
    Family(
        "hunyuan_dit",
        HunyuanDiTPipeline,
        hunyuan_dit,
        hunyuan_dit_arguments,
        repeats=False,
        scheduler=lambda: DDIMScheduler(clip_sample=False),
        call=AS_ASKED,
    ),
    Family("lumina", LuminaPipeline, lumina, MASKED, repeats=False),
    Family("lumina2", Lumina2Pipeline, lumina2, MASKED, apart=True, repeats=False),
    Family(
        "pixart",
        PixArtSigmaPipeline,
        pixart,
        MASKED,
        scheduler=DPMSolverMultistepScheduler,
        call={**AS_ASKED, "negative_prompt": None},
    ),
    Family(
        "sana",
        SanaPipeline,
        sana,
        MASKED,
        scheduler=flow_dpm,
        call={**AS_ASKED, "negative_prompt": None},
        pixels=4,
    ),
    Family("z_image", ZImagePipeline, z_image, z_image_arguments),
]
