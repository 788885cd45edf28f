"""Image families in the manner of Flux: packed latents, text and image in two streams."""

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    BriaPipeline,
    BriaTransformer2DModel,
    ChromaPipeline,
    ChromaTransformer2DModel,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance

from tests.spectrum.tiny.family import Family, embeddings, encode, prompts, switch_guider, texts


def flux2() -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )


def qwen() -> QwenImageTransformer2DModel:
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
    )


def chroma() -> ChromaTransformer2DModel:
    return ChromaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )


def bria() -> BriaTransformer2DModel:
    return BriaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=[4, 4, 8],
    )


def ovis() -> OvisImageTransformer2DModel:
    return OvisImageTransformer2DModel(
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
    )


def longcat() -> LongCatImageTransformer2DModel:
    return LongCatImageTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
    )


def hunyuan_image() -> HunyuanImageTransformer2DModel:
    return HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=(1, 1),
        text_embed_dim=32,
        text_embed_2_dim=16,
        rope_axes_dim=(4, 4),
    )


def krea() -> Krea2Transformer2DModel:
    return Krea2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        timestep_embed_dim=16,
        text_hidden_dim=32,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=32,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )


def nucleus() -> NucleusMoEImageTransformer2DModel:
    return NucleusMoEImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
        moe_enabled=False,
        capacity_factors=[8.0, 8.0],
    )


def flux2_vae() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=4,
    )


def bria_vae() -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=(8, 8, 8), norm_num_groups=4, shift_factor=0.0)


def hunyuan_image_arguments(batch: int, guidance: bool) -> dict:
    def some(prefix: str, seed: int) -> dict:
        return {
            f"{prefix}prompt_embeds": embeddings(batch, 6, 32, seed=seed),
            f"{prefix}prompt_embeds_2": embeddings(batch, 4, 16, seed=seed),
            f"{prefix}prompt_embeds_mask": torch.ones(batch, 6, dtype=torch.long),
            f"{prefix}prompt_embeds_mask_2": torch.ones(batch, 4, dtype=torch.long),
        }

    return some("", 0) | some("negative_", 1)


FAMILIES = [
    Family("bria", BriaPipeline, bria, texts(32), repeats=False, components={"vae": bria_vae}),
    Family(
        "chroma",
        ChromaPipeline,
        chroma,
        texts(32, mask="prompt_attention_mask", dtype=torch.bool),
        apart=True,
        repeats=False,
    ),
    Family("flux2", Flux2KleinPipeline, flux2, texts(32), apart=True, components={"vae": flux2_vae}),
    Family(
        "hunyuan_image",
        HunyuanImagePipeline,
        hunyuan_image,
        hunyuan_image_arguments,
        apart=True,
        guide=switch_guider,
        components={"guider": AdaptiveProjectedMixGuidance},
        pixels=4,
    ),
    Family("krea", Krea2Pipeline, krea, texts(2, 32, off=0.0, mask="prompt_embeds_mask", dtype=torch.bool), apart=True),
    Family(
        "longcat",
        LongCatImagePipeline,
        longcat,
        prompts,
        apart=True,
        replaced={"_encode_prompt": lambda texts: encode(texts, 32)},
        call={"enable_prompt_rewrite": False},
    ),
    Family("nucleus", NucleusMoEImagePipeline, nucleus, texts(32), apart=True),
    Family("ovis", OvisImagePipeline, ovis, texts(32), apart=True, call={"negative_prompt": None}),
    Family("qwen", QwenImagePipeline, qwen, texts(32, scale="true_cfg_scale", mask="prompt_embeds_mask"), apart=True),
]
