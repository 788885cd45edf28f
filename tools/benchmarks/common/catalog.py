"""The five models: the numbers of their public configs, and what their pipelines are called with."""

from collections.abc import Callable
from typing import Any

import torch

from tools.benchmarks.common.denoisers import Model, Rand, Scale, Size


def _flux_size(scale: Scale) -> Size:
    heads, side = scale.count(24), scale.side(1024)
    config = {
        "patch_size": 1,
        "in_channels": 64,
        "num_layers": scale.count(19, 2),
        "num_single_layers": scale.count(38, 2),
        "attention_head_dim": 128,
        "num_attention_heads": heads,
        "joint_attention_dim": scale.count(4096),
        "pooled_projection_dim": scale.count(768),
        "guidance_embeds": True,
    }
    return Size(config, {"height": side, "width": side}, scale.count(512), (1, (side // 16) ** 2, 128 * heads))


def _flux_inputs(size: Size, rand: Rand) -> dict[str, Any]:
    return {
        "prompt_embeds": rand(1, size.text_tokens, size.config["joint_attention_dim"]),
        "pooled_prompt_embeds": rand(1, size.config["pooled_projection_dim"]),
        "guidance_scale": 3.5,  # an input of the denoiser
    }


def _wan_size(scale: Scale) -> Size:
    heads = scale.count(40)
    height, width, frames = scale.side(480, 3), scale.side(832, 3), scale.frames(81)
    config = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": heads,
        "attention_head_dim": 128,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": scale.count(4096),
        "freq_dim": 256,
        "ffn_dim": scale.count(13824),
        "num_layers": scale.count(40, 2),
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": 1024,
    }
    tokens = ((frames - 1) // 4 + 1) * (height // 16) * (width // 16)
    call = {"height": height, "width": width, "num_frames": frames}
    return Size(config, call, scale.count(512), (1, tokens, 128 * heads))


def _wan_inputs(size: Size, rand: Rand) -> dict[str, Any]:
    embeddings = rand(1, size.text_tokens, size.config["text_dim"])
    # Two calls of the denoiser a step.
    return {"prompt_embeds": embeddings, "negative_prompt_embeds": -embeddings, "guidance_scale": 5.0}


def _hunyuan_size(scale: Scale) -> Size:
    heads = scale.count(24)
    height, width, frames = scale.side(544, 3), scale.side(960, 3), scale.frames(61)
    config = {
        "in_channels": 16,
        "out_channels": 16,
        "num_attention_heads": heads,
        "attention_head_dim": 128,
        "num_layers": scale.count(20, 2),
        "num_single_layers": scale.count(40, 2),
        "num_refiner_layers": scale.count(2),
        "mlp_ratio": 4.0,
        "patch_size": 2,
        "patch_size_t": 1,
        "qk_norm": "rms_norm",
        "guidance_embeds": True,
        "text_embed_dim": scale.count(4096),
        "pooled_projection_dim": scale.count(768),
        "rope_theta": 256.0,
        "rope_axes_dim": (16, 56, 56),
    }
    tokens = ((frames - 1) // 4 + 1) * (height // 16) * (width // 16)
    call = {"height": height, "width": width, "num_frames": frames}
    return Size(config, call, scale.count(256), (1, tokens, 128 * heads))


def _hunyuan_inputs(size: Size, rand: Rand) -> dict[str, Any]:
    embeddings = rand(1, size.text_tokens, size.config["text_embed_dim"])
    return {
        "prompt_embeds": embeddings,
        "pooled_prompt_embeds": rand(1, size.config["pooled_projection_dim"]),
        "prompt_attention_mask": torch.ones_like(embeddings[..., 0]),
        "guidance_scale": 6.0,  # an input of the denoiser
    }


def _sd35_size(scale: Scale) -> Size:
    heads, side = scale.count(38), scale.side(1024)
    config = {
        "sample_size": side // 8,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": scale.count(38, 2),
        "attention_head_dim": 64,
        "num_attention_heads": heads,
        "joint_attention_dim": scale.count(4096),
        "caption_projection_dim": 64 * heads,
        "pooled_projection_dim": scale.count(2048),
        "pos_embed_max_size": 192,
        "dual_attention_layers": (),
        "qk_norm": "rms_norm",
    }
    # 77 tokens of the CLIP encoders and 256 of T5; guidance stacks both branches in one call.
    return Size(config, {"height": side, "width": side}, scale.count(333), (2, (side // 16) ** 2, 64 * heads))


def _sdxl_size(scale: Scale) -> Size:
    heads, side = tuple(scale.count(full) for full in (5, 10, 20)), scale.side(1024)
    pooled = scale.count(1280)
    config = {
        "sample_size": side // 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": tuple(64 * count for count in heads),
        "layers_per_block": 2,
        "transformer_layers_per_block": tuple(scale.count(full) for full in (1, 2, 10)),
        "attention_head_dim": heads,  # so named in this class; it holds the numbers of heads
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "use_linear_projection": True,
        "cross_attention_dim": scale.count(2048),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": pooled + 6 * 256,
    }
    feature = (2, 64 * heads[0], side // 8, side // 8)
    return Size(config, {"height": side, "width": side}, scale.count(77), feature)


def _stacked_inputs(width: str, pooled: Callable[[dict[str, Any]], int], guidance_scale: float) -> Any:
    def inputs(size: Size, rand: Rand) -> dict[str, Any]:
        embeddings, one = rand(1, size.text_tokens, size.config[width]), rand(1, pooled(size.config))
        return {
            "prompt_embeds": embeddings,
            "pooled_prompt_embeds": one,
            "negative_prompt_embeds": -embeddings,
            "negative_pooled_prompt_embeds": -one,
            "guidance_scale": guidance_scale,
        }

    return inputs


MODELS: dict[str, Model] = {
    "flux": Model(
        "FLUX.1-dev, 1024x1024",
        "black-forest-labs/FLUX.1-dev",
        "FluxTransformer2DModel",
        "FluxPipeline",
        "FlowMatchEulerDiscreteScheduler",
        {"shift": 3.0, "use_dynamic_shifting": True},
        _flux_size,
        _flux_inputs,
    ),
    "wan": Model(
        "Wan2.1-T2V-14B, 832x480, 81 frames",
        "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        "WanTransformer3DModel",
        "WanPipeline",
        "UniPCMultistepScheduler",
        {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
        _wan_size,
        _wan_inputs,
    ),
    "hunyuan": Model(
        "HunyuanVideo, 960x544, 61 frames",
        "hunyuanvideo-community/HunyuanVideo",
        "HunyuanVideoTransformer3DModel",
        "HunyuanVideoPipeline",
        "FlowMatchEulerDiscreteScheduler",
        {"shift": 7.0},
        _hunyuan_size,
        _hunyuan_inputs,
    ),
    "sd35": Model(
        "Stable Diffusion 3.5 Large, 1024x1024",
        "stabilityai/stable-diffusion-3.5-large",
        "SD3Transformer2DModel",
        "StableDiffusion3Pipeline",
        "FlowMatchEulerDiscreteScheduler",
        {"shift": 3.0},
        _sd35_size,
        _stacked_inputs("joint_attention_dim", lambda config: config["pooled_projection_dim"], 3.5),
    ),
    "sdxl": Model(
        "Stable Diffusion XL, 1024x1024",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "UNet2DConditionModel",
        "StableDiffusionXLPipeline",
        "EulerDiscreteScheduler",
        {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1},
        _sdxl_size,
        _stacked_inputs(
            "cross_attention_dim", lambda config: config["projection_class_embeddings_input_dim"] - 6 * 256, 5.0
        ),
    ),
}
