"""The configurations of public models, to rehearse them before anything is downloaded. Numbers of their config files.

A checkpoint on the disk is read from there instead. What is not named here is the class's default.
"""

from typing import Any

from jobs.rehearse.parts import Index

_CLIP_L = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "max_position_embeddings": 77, "projection_dim": 768, "vocab_size": 49408, "hidden_act": "quick_gelu",
    "eos_token_id": 2,
}  # fmt: skip
_CLIP_G = {
    **_CLIP_L,
    **{"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20},
    **{"projection_dim": 1280, "hidden_act": "gelu"},
}
_T5_XXL = {
    "d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64, "num_layers": 24, "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip
_LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128320, "max_position_embeddings": 8192,
}  # fmt: skip
_KL = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 1024,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
_KL_16 = {**_KL, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
_FLOW = ("diffusers", "FlowMatchEulerDiscreteScheduler")
_WAN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tokenizer": ("words", "tokenizer", {"limit": 512}),
    "text_encoder": ("transformers", "UMT5EncoderModel", {**_T5_XXL, "vocab_size": 256384}),
    "vae": ("diffusers", "AutoencoderKLWan", {}),
    "transformer": ("diffusers", "WanTransformer3DModel", {}),
    "scheduler": (
        "diffusers",
        "UniPCMultistepScheduler",
        {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
    ),
}  # fmt: skip

PUBLISHED: dict[str, Index] = {
    "black-forest-labs/FLUX.1-dev": Index(
        "FluxPipeline",
        {
            "tokenizer": ("words", "tokenizer", {"limit": 77}),
            "tokenizer_2": ("words", "tokenizer", {"limit": 512}),
            "text_encoder": ("transformers", "CLIPTextModel", _CLIP_L),
            "text_encoder_2": ("transformers", "T5EncoderModel", _T5_XXL),
            "transformer": ("diffusers", "FluxTransformer2DModel", {"guidance_embeds": True}),
            "vae": ("diffusers", "AutoencoderKL", {**_KL_16, "scaling_factor": 0.3611, "shift_factor": 0.1159}),
            "scheduler": (*_FLOW, {"shift": 3.0, "use_dynamic_shifting": True}),
        },
    ),
    "stabilityai/stable-diffusion-3.5-large": Index(
        "StableDiffusion3Pipeline",
        {
            "tokenizer": ("words", "tokenizer", {"limit": 77}),
            "tokenizer_2": ("words", "tokenizer", {"limit": 77}),
            "tokenizer_3": ("words", "tokenizer", {"limit": 512}),
            "text_encoder": ("transformers", "CLIPTextModelWithProjection", _CLIP_L),
            "text_encoder_2": ("transformers", "CLIPTextModelWithProjection", _CLIP_G),
            "text_encoder_3": ("transformers", "T5EncoderModel", _T5_XXL),
            "transformer": (
                "diffusers",
                "SD3Transformer2DModel",
                {
                    "sample_size": 128, "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
                    "pos_embed_max_size": 192, "dual_attention_layers": [], "qk_norm": "rms_norm",
                    "attention_head_dim": 64, "joint_attention_dim": 4096, "pooled_projection_dim": 2048,
                    "in_channels": 16, "out_channels": 16, "patch_size": 2,
                },
            ),
            "vae": ("diffusers", "AutoencoderKL", {**_KL_16, "scaling_factor": 1.5305, "shift_factor": 0.0609}),
            "scheduler": (*_FLOW, {"shift": 3.0}),
        },
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": Index(
        "StableDiffusionXLPipeline",
        {
            "tokenizer": ("words", "tokenizer", {"limit": 77}),
            "tokenizer_2": ("words", "tokenizer", {"limit": 77}),
            "text_encoder": ("transformers", "CLIPTextModel", _CLIP_L),
            "text_encoder_2": ("transformers", "CLIPTextModelWithProjection", _CLIP_G),
            "unet": (
                "diffusers",
                "UNet2DConditionModel",
                {
                    "sample_size": 128, "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
                    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                    "transformer_layers_per_block": [1, 2, 10], "attention_head_dim": [5, 10, 20],
                    "cross_attention_dim": 2048, "use_linear_projection": True, "addition_embed_type": "text_time",
                    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
                },
            ),
            "vae": ("diffusers", "AutoencoderKL", {**_KL, "latent_channels": 4, "scaling_factor": 0.13025,
                                                   "force_upcast": True}),
            "scheduler": (
                "diffusers",
                "EulerDiscreteScheduler",
                {
                    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
                    "timestep_spacing": "leading", "steps_offset": 1,
                },
            ),
        },
        {"force_zeros_for_empty_prompt": True},
    ),
    "hunyuanvideo-community/HunyuanVideo": Index(
        "HunyuanVideoPipeline",
        {
            "tokenizer": ("words", "tokenizer", {"limit": 256}),
            "tokenizer_2": ("words", "tokenizer", {"limit": 77}),
            "text_encoder": ("transformers", "LlamaModel", _LLAMA_8B),
            "text_encoder_2": ("transformers", "CLIPTextModel", _CLIP_L),
            "transformer": ("diffusers", "HunyuanVideoTransformer3DModel", {}),
            "vae": ("diffusers", "AutoencoderKLHunyuanVideo", {}),
            "scheduler": (*_FLOW, {"shift": 7.0}),
        },
    ),
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": Index("WanPipeline", _WAN),
    "Wan-AI/Wan2.2-T2V-A14B-Diffusers": Index(
        "WanPipeline",
        {**_WAN, "transformer_2": ("diffusers", "WanTransformer3DModel", {})},
        {"boundary_ratio": 0.875},
    ),
}  # fmt: skip
