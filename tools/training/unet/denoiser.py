"""The UNet model's denoiser, and the StableDiffusionXLPipeline made of all parts."""

import copy
from dataclasses import replace
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor, nn

from jobs.model.demo.scenes.image import words
from tools.training.denoisers import DenoiserTask
from tools.training.domain import UNET
from tools.training.image import autoencoder as vae
from tools.training.image.draw import SIZE
from tools.training.text import CLIP_WIDTH, T5_WIDTH, new_tokenizer
from tools.training.unet.lessons import noise_prediction
from tools.training.unet.noise import new_scheduler
from tools.training.unet.reading import encoders, image_pipeline, read

CHANNELS, HEADS = (48, 64, 80), (2, 2, 2)
TIME_WIDTH = 8  # of the embedding of each of SDXL's six numbers of size and crop


def new_unet() -> UNet2DConditionModel:
    """Make the UNet, 2.6 M parameters; it begins as the identity: what it returns is nearly what it is given."""
    model = UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=4,
        out_channels=4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=HEADS,  # so named in this class; it holds the numbers of heads
        norm_num_groups=8,
        use_linear_projection=True,
        cross_attention_dim=T5_WIDTH + CLIP_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=CLIP_WIDTH + 6 * TIME_WIDTH,
    )
    for name, module in model.named_modules():
        if name.endswith(("conv2", "attentions.0.proj_out", "attentions.1.proj_out")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    _pass_through(model)
    return model


@torch.no_grad()
def _pass_through(model: UNet2DConditionModel) -> None:
    """Carry each latent channel and its negative through to the end: silu(x) - silu(-x) is x.

    The noise is most of the input, and a UNet, which has no path around its last norm, was slow to find that out.
    """
    first, last, end = model.conv_in, model.up_blocks[-1].resnets[-1].conv_shortcut, model.conv_out
    skip = last.in_channels - CHANNELS[0]  # what the first convolution made comes behind what the block above did
    middle = first.kernel_size[0] // 2
    end.weight.zero_()
    end.bias.zero_()
    for channel in range(model.config.in_channels):
        for sign, place in ((1.0, 2 * channel), (-1.0, 2 * channel + 1)):
            first.weight[place] = 0
            first.bias[place] = 0
            first.weight[place, channel, middle, middle] = sign
            last.weight[place] = 0
            last.bias[place] = 0
            last.weight[place, skip + place] = 1
            end.weight[channel, place, middle, middle] = sign


class Denoiser(nn.Module):
    """Noise from noisy latents, timestep and tokens. The text encoders are no part of it: they do not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = new_unet()

    def forward(self, noisy: Tensor, timesteps: Tensor, t5_ids: Tensor, clip_ids: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            noisy: Latents, float of shape (n, 4, 16, 16).
            timesteps: int64 of shape (n,) in 0..999.
            t5_ids, clip_ids: int64 of shape (n, MAX_TOKENS).

        Returns:
            Tensor of the shape of ``noisy``.
        """
        tokens, sentence = read(t5_ids, clip_ids)
        numbers = torch.tensor([float(SIZE), SIZE, 0, 0, SIZE, SIZE]).expand(len(noisy), -1)
        added = {"text_embeds": sentence, "time_ids": numbers}
        return self.unet(noisy, timesteps, tokens, added_cond_kwargs=added, return_dict=False)[0]


def new_pipeline(autoencoder: AutoencoderKL, denoiser: Denoiser) -> StableDiffusionXLPipeline:
    """Return the parts as a pipeline, in evaluation mode. Those of the image model are copies."""
    t5, clip = copy.deepcopy(encoders())
    return StableDiffusionXLPipeline(
        scheduler=new_scheduler(),
        vae=autoencoder.eval(),
        text_encoder=t5,
        tokenizer=new_tokenizer(words()),
        text_encoder_2=clip,
        tokenizer_2=new_tokenizer(words(), with_bos=True),
        unet=denoiser.unet.eval(),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )


def encode(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Return latents (n, 4, 16, 16) of pictures (n, 3, 64, 64) as SDXL scales them: without a shift."""
    return autoencoder.encode(pictures).latent_dist.mode() * autoencoder.config.scaling_factor


def _image_models(*_: Any) -> AutoencoderKL:
    return copy.deepcopy(image_pipeline().vae)


TASK = DenoiserTask(
    replace(vae.TASK, domain=UNET),
    Denoiser,
    lambda: [new_tokenizer(words()), new_tokenizer(words(), with_bos=True)],
    encode,
    new_pipeline,
    pool_size=12_000,
    chunk=256,
    load_autoencoder=_image_models,
    new_loss=noise_prediction,
)
