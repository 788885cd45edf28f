"""Whole pipelines of the five model configs' classes, tiny and random: real tokenizers, text encoders, autoencoders.

The autoencoders shrink pictures and clips as much as the real ones do, so that sizes are what they are there.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLWan,
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
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

WIDTH = 32  # of every text encoder
WORDS = 259  # bytes, start, end, padding


def tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """One token a byte, between a start and an end token."""
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {"<s>": 256, "</s>": 257, "<pad>": 258}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=max_length,
    )


def clip(projection: bool = False, width: int = WIDTH, layers: int = 2) -> CLIPTextModel | CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=width,
        num_attention_heads=2,
        num_hidden_layers=layers,
        vocab_size=WORDS,
        projection_dim=width,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=258,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5(multilingual: bool = False, width: int = WIDTH) -> T5EncoderModel | UMT5EncoderModel:
    options: dict[str, Any] = {
        "vocab_size": WORDS,
        "d_model": width,
        "d_kv": 16,
        "d_ff": WIDTH,
        "num_layers": 1,
        "num_heads": 2,
        "pad_token_id": 258,
        "eos_token_id": 257,
    }
    return UMT5EncoderModel(UMT5Config(**options)) if multilingual else T5EncoderModel(T5Config(**options))


def picture_vae(latent_channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=2,
        shift_factor=0.1,
        scaling_factor=0.4,
    )


def flux() -> FluxPipeline:
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=picture_vae(4),
        text_encoder=clip(),
        tokenizer=tokenizer(77),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(512),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 4, 8),
        ),
    )


def sd3_5() -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=picture_vae(4),
        text_encoder=clip(projection=True),
        tokenizer=tokenizer(77),
        text_encoder_2=clip(projection=True),
        tokenizer_2=tokenizer(77),
        text_encoder_3=t5(width=2 * WIDTH),  # as wide as both others together
        tokenizer_3=tokenizer(512),
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=2 * WIDTH,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=2 * WIDTH,
            qk_norm="rms_norm",
        ),
    )


def sdxl(width: int = WIDTH, layers: int = 2) -> StableDiffusionXLPipeline:
    """``width`` and ``layers`` are those of the second text encoder."""
    return StableDiffusionXLPipeline(
        scheduler=EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1),
        vae=picture_vae(4),
        text_encoder=clip(),
        tokenizer=tokenizer(77),
        text_encoder_2=clip(projection=True, width=width, layers=layers),
        tokenizer_2=tokenizer(77),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(WIDTH, WIDTH),
            norm_num_groups=8,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + width,
            cross_attention_dim=WIDTH + width,
        ),
        add_watermarker=False,
    )


def hunyuan() -> HunyuanVideoPipeline:
    text_encoder = LlamaModel(
        LlamaConfig(
            vocab_size=WORDS,
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=258,
        )
    )
    return HunyuanVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        vae=AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(4, 4, 4, 4),
            layers_per_block=1,
            norm_num_groups=2,
            spatial_compression_ratio=8,
            temporal_compression_ratio=4,
        ),
        text_encoder=text_encoder,
        tokenizer=tokenizer(1000),
        text_encoder_2=clip(),
        tokenizer_2=tokenizer(77),
        transformer=HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=2,
            patch_size_t=1,
            guidance_embeds=True,
            text_embed_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            rope_axes_dim=(4, 6, 6),
        ),
    )


def wan14b() -> WanPipeline:
    return WanPipeline(
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0),
        vae=AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        text_encoder=t5(multilingual=True),
        tokenizer=tokenizer(512),
        transformer=WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            text_dim=WIDTH,
            freq_dim=16,
            ffn_dim=32,
            num_layers=2,
            rope_max_seq_len=32,
        ),
    )


PIPELINES: dict[str, Callable[[], Any]] = {
    "flux": flux,
    "sd3-5": sd3_5,
    "sdxl": sdxl,
    "hunyuan": hunyuan,
    "wan14b": wan14b,
}


def save(name: str, folder: Any) -> None:
    """Make the pipeline of a model config and write it to ``folder``."""
    torch.manual_seed(0)
    PIPELINES[name]().save_pretrained(folder)
