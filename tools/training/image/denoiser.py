"""The image model's denoiser with its text encoders, and the FluxPipeline made of all parts."""

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn

from jobs.model.demo.scenes.image import words
from tools.training.denoisers import DenoiserTask
from tools.training.image import autoencoder as vae
from tools.training.text import CLIP_WIDTH, MAX_TOKENS, T5_WIDTH, new_clip, new_t5, new_tokenizer

GRID = 8  # 64 pixels / 4 (autoencoder) / 2 (packing)


def new_transformer() -> FluxTransformer2DModel:
    """Make the transformer, 6.2 M parameters; it begins as the identity, the blocks' gates and the output at zero."""
    model = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=6,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(4, 14, 14),
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and (".norm" in name or name in ("norm_out.linear", "proj_out")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return model


class Denoiser(nn.Module):
    """Velocity from noisy latents, noise level and tokens: everything that is trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer, self.t5, self.clip = new_transformer(), new_t5(words()), new_clip(words())
        side = torch.arange(float(GRID))
        ids = torch.cartesian_prod(torch.zeros(1), side, side)  # (64, 3): 0, row, column
        self.register_buffer("image_ids", ids, persistent=False)
        self.register_buffer("text_ids", torch.zeros(MAX_TOKENS, 3), persistent=False)

    def forward(self, noisy: Tensor, sigma: Tensor, t5_ids: Tensor, clip_ids: Tensor) -> Tensor:
        """Predict noise minus picture.

        Args:
            noisy: Packed latents, float of shape (n, 64, 16).
            sigma: Share of noise, float of shape (n,) in 0..1.
            t5_ids, clip_ids: int64 of shape (n, MAX_TOKENS).

        Returns:
            Tensor of the shape of ``noisy``.
        """
        return self.transformer(
            hidden_states=noisy,
            timestep=sigma,
            encoder_hidden_states=self.t5(t5_ids)[0],
            pooled_projections=self.clip(clip_ids).pooler_output,
            img_ids=self.image_ids,
            txt_ids=self.text_ids,
            return_dict=False,
        )[0]


def pack(latents: Tensor) -> Tensor:
    """Pack 2x2 neighbours to one token, in FluxPipeline's order: (n, 4, 16, 16) -> (n, 64, 16)."""
    n, channels, height, width = latents.shape
    cells = latents.view(n, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(n, height // 2 * (width // 2), channels * 4)


def new_pipeline(autoencoder: AutoencoderKL, denoiser: Denoiser) -> FluxPipeline:
    """Return the parts as a pipeline, in evaluation mode."""
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0),
        vae=autoencoder.eval(),
        text_encoder=denoiser.clip.eval(),
        tokenizer=new_tokenizer(words(), with_bos=True),
        text_encoder_2=denoiser.t5.eval(),
        tokenizer_2=new_tokenizer(words()),
        transformer=denoiser.transformer.eval(),
    )


def encode(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Return packed latents (n, 64, 16) of pictures (n, 3, 64, 64), with mean 0 and standard deviation 1 over all."""
    latents = autoencoder.encode(pictures).latent_dist.mode()
    return pack((latents - autoencoder.config.shift_factor) * autoencoder.config.scaling_factor)


TASK = DenoiserTask(
    vae.TASK,
    Denoiser,
    lambda: [new_tokenizer(words()), new_tokenizer(words(), with_bos=True)],
    encode,
    new_pipeline,
    pool_size=24_000,
    chunk=256,
)
