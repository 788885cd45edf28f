"""The video model's denoiser with its text encoder, and the WanPipeline made of all parts."""

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from torch import Tensor, nn

from jobs.model.demo.scenes.video import words
from tools.training.denoisers import DenoiserTask
from tools.training.text import MARKS, PAD, T5_WIDTH, new_tokenizer, new_umt5
from tools.training.video import autoencoder as vae

FLOW_SHIFT = 3.0


def new_transformer() -> WanTransformer3DModel:
    """Make the transformer, 4.0 M parameters for 45 tokens a clip; it begins as the identity."""
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        in_channels=vae.LATENT_CHANNELS,
        out_channels=vae.LATENT_CHANNELS,
        num_layers=6,
        num_attention_heads=6,
        attention_head_dim=32,
        ffn_dim=768,
        text_dim=T5_WIDTH,
        cross_attn_norm=True,
        rope_max_seq_len=32,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in ("time_proj", "scale_shift_table", "attn2.to_out", "proj_out")):
                parameter.zero_()
    return model


class Denoiser(nn.Module):
    """Velocity from noisy latents, noise level and tokens: everything that is trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer, self.umt5 = new_transformer(), new_umt5(words())

    def forward(self, noisy: Tensor, sigma: Tensor, ids: Tensor) -> Tensor:
        """Predict noise minus clip.

        Args:
            noisy: Latents, float of shape (n, 16, 5, 6, 6).
            sigma: Share of noise, float of shape (n,) in 0..1.
            ids: Tokens, int64 of shape (n, MAX_TOKENS).

        Returns:
            Tensor of the shape of ``noisy``.
        """
        mask = ids != MARKS.index(PAD)
        # As in WanPipeline: the encoder does not see padding, the transformer sees it as zeros.
        text = self.umt5(ids, mask).last_hidden_state * mask[..., None]
        return self.transformer(noisy, 1000 * sigma, text, return_dict=False)[0]


def new_pipeline(autoencoder: AutoencoderKLWan, denoiser: Denoiser) -> WanPipeline:
    """Return the parts as a pipeline, in evaluation mode."""
    return WanPipeline(
        tokenizer=new_tokenizer(words()),
        text_encoder=denoiser.umt5.eval(),
        vae=autoencoder.eval(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=FLOW_SHIFT
        ),
        transformer=denoiser.transformer.eval(),
    )


def encode(autoencoder: AutoencoderKLWan, clips: Tensor) -> Tensor:
    """Return latents (n, 16, 5, 6, 6) of clips (n, 3, 17, 48, 48); each channel has mean 0 and deviation 1 over all."""
    config = autoencoder.config
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
    return (autoencoder.encode(clips).latent_dist.mode() - mean) / std


TASK = DenoiserTask(
    vae.TASK,
    Denoiser,
    lambda: [new_tokenizer(words())],
    encode,
    new_pipeline,
    pool_size=5_000,
    chunk=128,
)
