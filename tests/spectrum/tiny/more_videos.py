"""Video families: LTX-Video and those near Wan and Sana."""

from diffusers import (
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    MotifVideoPipeline,
    MotifVideoTransformer3DModel,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
    SkyReelsV2Pipeline,
    SkyReelsV2Transformer3DModel,
)
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

from tests.spectrum.tiny.classic import flow_unipc, wan_arguments
from tests.spectrum.tiny.family import Autoencoder, Family, switch_guider, texts
from tests.spectrum.tiny.images import flow_dpm


def ltx() -> LTXVideoTransformer3DModel:
    return LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        num_layers=2,
        caption_channels=32,
    )


def ltx2() -> LTX2VideoTransformer3DModel:
    return LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_in_channels=128,
        audio_out_channels=128,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=8,
        rope_double_precision=False,
    )


def ltx2_connectors() -> LTX2TextConnectors:
    return LTX2TextConnectors(
        caption_channels=8,
        text_proj_in_factor=4,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=4,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=4,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        rope_double_precision=False,
    ).eval()


def motif() -> MotifVideoTransformer3DModel:
    return MotifVideoTransformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=2,
        num_decoder_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=32,
        rope_axes_dim=(4, 4, 4),
    )


def sana_video() -> SanaVideoTransformer3DModel:
    return SanaVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=32,
        sample_size=4,
        rope_max_seq_len=32,
    )


def skyreels() -> SkyReelsV2Transformer3DModel:
    return SkyReelsV2Transformer3DModel(
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


MASKED = texts(32, mask="prompt_attention_mask")

# Without the guidance by perturbed and by separated streams, which has a test of its own.
LTX2_PLAIN = {"stg_scale": 0.0, "modality_scale": 1.0, "audio_stg_scale": 0.0, "audio_modality_scale": 1.0}


def ltx2_arguments(batch: int, guidance: bool) -> dict:
    given = MASKED(batch, guidance)
    return {**given, "audio_guidance_scale": given["guidance_scale"]}


FAMILIES = [
    Family("ltx", LTXPipeline, ltx, MASKED, repeats=False, call={"num_frames": 9}, pixels=2),
    Family(
        "ltx2",
        LTX2Pipeline,
        ltx2,
        ltx2_arguments,
        repeats=False,
        components={
            "connectors": ltx2_connectors,
            "vae": lambda: Autoencoder(scaling_factor=1.0),
            "audio_vae": lambda: Autoencoder(sample_rate=16000, mel_hop_length=160, mel_bins=64, latent_channels=8),
        },
        call={"num_frames": 5, **LTX2_PLAIN},
        pixels=2,
    ),
    Family(
        "motif",
        MotifVideoPipeline,
        motif,
        texts(32, scale=None, mask="prompt_attention_mask"),
        apart=True,
        repeats=False,
        guide=switch_guider,
        components={"vae": lambda: Autoencoder(z_dim=4), "guider": ClassifierFreeGuidance},
        call={"num_frames": 5},
    ),
    Family(
        "sana_video",
        SanaVideoPipeline,
        sana_video,
        MASKED,
        scheduler=flow_dpm,
        call={"frames": 5, "use_resolution_binning": False, "negative_prompt": None},
        pixels=2,
    ),
    Family(
        "skyreels",
        SkyReelsV2Pipeline,
        skyreels,
        wan_arguments,
        apart=True,
        repeats=False,
        scheduler=flow_unipc,
        call={"num_frames": 5},
    ),
]
