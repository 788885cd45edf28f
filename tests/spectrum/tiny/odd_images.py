"""Image families whose pipelines want more than embeddings, or whose denoisers have no norm_out."""

import torch
from diffusers import (
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    GlmImagePipeline,
    GlmImageTransformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
)

from tests.spectrum.tiny.family import Family, embeddings, encode, prompts


def ernie() -> ErnieImageTransformer2DModel:
    return ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=2,
        ffn_hidden_size=32,
        in_channels=4,
        out_channels=4,
        text_in_dim=32,
        rope_axes_dim=(4, 6, 6),
    )


def ernie_arguments(batch: int, guidance: bool) -> dict:
    return {
        "prompt_embeds": list(embeddings(batch, 6, 32)),
        "negative_prompt_embeds": list(embeddings(batch, 6, 32, seed=1)),
        "guidance_scale": 4.0 if guidance else 1.0,
    }


def fibo() -> BriaFiboTransformer2DModel:
    return BriaFiboTransformer2DModel(
        in_channels=48,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=[4, 4, 8],
        text_encoder_dim=16,
    )


def fibo_encode(*, prompt: list[str], negative_prompt: list[str], guidance_scale: float, **options: int) -> tuple:
    def repeated(given: list[str], width: int) -> torch.Tensor:
        return encode(given, width).repeat_interleave(options["num_images_per_prompt"], 0)

    both = [repeated(given, 32) for given in (prompt, negative_prompt)]
    layers = [[repeated(given, 16)] * 2 for given in (prompt, negative_prompt)]
    masks = [torch.ones(embeds.shape[:2]) for embeds in both]
    return *both, torch.zeros(len(both[0]), 6, 3), *masks, *layers


def glm() -> GlmImageTransformer2DModel:
    return GlmImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=8,
        prior_vq_quantizer_codebook_size=16,
    )


def glm_arguments(batch: int, guidance: bool) -> dict:
    given = prompts(batch, guidance)
    del given["negative_prompt"]
    return given


def glm_prior(*, prompt: list[str], height: int, width: int, **_: object) -> tuple:
    tokens = torch.arange(height // 16 * (width // 16)) % 16
    return tokens.repeat(len(prompt), 1), None, None


def hidream() -> HiDreamImageTransformer2DModel:
    return HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=[32, 16],
        text_emb_dim=32,
        num_routed_experts=2,
        num_activated_experts=1,
        axes_dims_rope=(4, 2, 2),
        max_resolution=(8, 8),
        llama_layers=[0, 1, 1],
    )


def hidream_arguments(batch: int, guidance: bool) -> dict:
    def some(prefix: str, seed: int) -> dict:
        return {
            f"{prefix}prompt_embeds_t5": embeddings(batch, 6, 32, seed=seed),
            f"{prefix}prompt_embeds_llama3": embeddings(batch, 2, 6, 16, seed=seed).transpose(0, 1),
            f"{prefix}pooled_prompt_embeds": embeddings(batch, 32, seed=seed),
        }

    return some("", 0) | some("negative_", 1) | {"guidance_scale": 4.0 if guidance else 1.0}


FAMILIES = [
    Family("ernie", ErnieImagePipeline, ernie, ernie_arguments),
    Family("fibo", BriaFiboPipeline, fibo, prompts, replaced={"encode_prompt": fibo_encode}),
    Family(
        "glm",
        GlmImagePipeline,
        glm,
        glm_arguments,
        apart=True,
        replaced={
            "generate_prior_tokens": glm_prior,
            "_get_glyph_embeds": lambda given, *_: encode(given, 32),
        },
        pixels=2,
    ),
    Family("hidream", HiDreamImagePipeline, hidream, hidream_arguments, replaced={"default_sample_size": 4}),
]
