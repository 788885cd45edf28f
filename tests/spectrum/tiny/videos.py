"""Video families."""

import torch
from diffusers import (
    AllegroPipeline,
    AllegroTransformer3DModel,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    CosmosTextToWorldPipeline,
    CosmosTransformer3DModel,
    DDIMScheduler,
    EasyAnimatePipeline,
    EasyAnimateTransformer3DModel,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    Kandinsky5T2VPipeline,
    Kandinsky5Transformer3DModel,
    LattePipeline,
    LatteTransformer3DModel,
    MochiPipeline,
    MochiTransformer3DModel,
)
from diffusers.guiders import ClassifierFreeGuidance

from tests.spectrum.tiny.family import Autoencoder, Family, embeddings, switch_guider, texts


def allegro() -> AllegroTransformer3DModel:
    return AllegroTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        cross_attention_dim=24,
        sample_height=8,
        sample_width=8,
        sample_frames=2,
        caption_channels=24,
    )


def cogvideox() -> CogVideoXTransformer3DModel:
    return CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=32,
        num_layers=2,
        sample_width=4,
        sample_height=4,
        sample_frames=5,
        patch_size=2,
        max_text_seq_length=6,
        use_rotary_positional_embeddings=True,
    )


def cosmos() -> CosmosTransformer3DModel:
    return CosmosTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2.0,
        text_embed_dim=32,
        adaln_lora_dim=4,
        max_size=(4, 16, 16),
        concat_padding_mask=False,  # it would need torchvision
    )


def easyanimate() -> EasyAnimateTransformer3DModel:
    return EasyAnimateTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        patch_size=2,
        sample_width=4,
        sample_height=4,
        num_layers=2,
        mmdit_layers=2,
        time_embed_dim=8,
        text_embed_dim=32,
    )


def hunyuan15() -> HunyuanVideo15Transformer3DModel:
    return HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=32,
        text_embed_2_dim=16,
        image_embed_dim=8,
        rope_axes_dim=(2, 2, 4),
        target_size=32,
        task_type="t2v",
    )


def hunyuan15_arguments(batch: int, guidance: bool) -> dict:
    def some(prefix: str, seed: int) -> dict:
        return {
            f"{prefix}prompt_embeds": embeddings(batch, 6, 32, seed=seed),
            f"{prefix}prompt_embeds_2": embeddings(batch, 4, 16, seed=seed),
            f"{prefix}prompt_embeds_mask": torch.ones(batch, 6),
            f"{prefix}prompt_embeds_mask_2": torch.ones(batch, 4),
        }

    return some("", 0) | some("negative_", 1)


def kandinsky() -> Kandinsky5Transformer3DModel:
    return Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=32,
        in_text_dim2=16,
        time_dim=8,
        out_visual_dim=4,
        model_dim=24,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(4, 4, 4),
    )


def kandinsky_arguments(batch: int, guidance: bool) -> dict:
    def some(prefix: str, seed: int) -> dict:
        return {
            f"{prefix}prompt_embeds_qwen": embeddings(batch, 6, 32, seed=seed),
            f"{prefix}prompt_embeds_clip": embeddings(batch, 16, seed=seed),
            f"{prefix}prompt_cu_seqlens": torch.arange(batch + 1) * 6,
        }

    return some("", 0) | some("negative_", 1) | {"guidance_scale": 4.0 if guidance else 1.0}


def latte() -> LatteTransformer3DModel:
    return LatteTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        attention_bias=True,
        sample_size=4,
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        caption_channels=32,
        video_length=2,
    )


def mochi() -> MochiTransformer3DModel:
    return MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=4,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=6,
    )


FRAMES = {"num_frames": 5}

FAMILIES = [
    Family(
        "allegro",
        AllegroPipeline,
        allegro,
        texts(24, mask="prompt_attention_mask"),
        repeats=False,
        scheduler=EulerDiscreteScheduler,
        call={"num_frames": 8, "negative_prompt": None},
    ),
    Family(
        "cogvideox",
        CogVideoXPipeline,
        cogvideox,
        texts(32),
        repeats=False,
        scheduler=CogVideoXDDIMScheduler,
        call=FRAMES,
    ),
    Family(
        "cosmos",
        CosmosTextToWorldPipeline,
        cosmos,
        texts(32),
        apart=True,
        repeats=False,
        scheduler=EDMEulerScheduler,
        components={"safety_checker": Autoencoder},
        call={"num_frames": 9},
    ),
    Family(
        "easyanimate",
        EasyAnimatePipeline,
        easyanimate,
        texts(32, mask="prompt_attention_mask"),
        components={"vae": lambda: Autoencoder(latent_channels=4)},
        call=FRAMES,
    ),
    Family(
        "hunyuan15",
        HunyuanVideo15Pipeline,
        hunyuan15,
        hunyuan15_arguments,
        apart=True,
        repeats=False,
        guide=switch_guider,
        components={"vae": lambda: Autoencoder(latent_channels=4), "guider": ClassifierFreeGuidance},
        replaced={"vision_num_semantic_tokens": 2},
        call=FRAMES,
    ),
    Family("kandinsky", Kandinsky5T2VPipeline, kandinsky, kandinsky_arguments, apart=True, repeats=False, call=FRAMES),
    Family(
        "latte",
        LattePipeline,
        latte,
        texts(32),
        scheduler=lambda: DDIMScheduler(clip_sample=False),
        call={"video_length": 2, "negative_prompt": None},
    ),
    Family(
        "mochi", MochiPipeline, mochi, texts(32, mask="prompt_attention_mask"), repeats=False, call={"num_frames": 7}
    ),
]
