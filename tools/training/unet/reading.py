"""What the UNet model takes over from the image model, unchanged: text encoders, tokenizers and autoencoder."""

import copy
from functools import cache

import torch
from diffusers import FluxPipeline
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from jobs.model import demo
from tools.training.text import CLIP_WIDTH

STATE_SIZE = 12.0  # root mean square of the state that the image model's T5 normalises last


@cache
def image_pipeline() -> FluxPipeline:
    """Return the embedded image model in float32: the source of the parts, and the teacher of the training."""
    return FluxPipeline.from_pretrained(demo.path("image"), dtype=torch.float32)


def new_t5(source: T5EncoderModel) -> T5EncoderModel:
    """Return an encoder whose last hidden state but one is what ``source`` ends with.

    StableDiffusionXLPipeline reads the last hidden state but one, so one more layer follows, of zeros. Nothing
    normalises that state, as T5's end does, so all that is added to it is made smaller by one number, which leaves
    every layer's own normalised input as it is.
    """
    settings = source.config.to_dict()
    model = T5EncoderModel(T5Config(**{**settings, "num_layers": settings["num_layers"] + 1}))
    missing, _ = model.load_state_dict(source.state_dict(), strict=False)
    for name in missing:
        nn.init.zeros_(model.get_parameter(name))
    for name, parameter in model.named_parameters():
        if name.endswith(
            ("shared.weight", "embed_tokens.weight", "SelfAttention.o.weight", "DenseReluDense.wo.weight")
        ):
            parameter.data = parameter.data.clone() / STATE_SIZE
    model.encoder.embed_tokens.weight = model.shared.weight
    return model.eval().requires_grad_(False)


def new_clip(source: CLIPTextModel) -> CLIPTextModelWithProjection:
    """Return the encoder of the class that StableDiffusionXLPipeline wants; its projection changes nothing."""
    model = CLIPTextModelWithProjection(CLIPTextConfig(**source.config.to_dict()))
    model.text_model.load_state_dict(source.state_dict())
    nn.init.eye_(model.text_projection.weight)
    return model.eval().requires_grad_(False)


@cache
def encoders() -> tuple[T5EncoderModel, CLIPTextModelWithProjection]:
    """Return both text encoders, in the order in which the pipeline has them."""
    source = image_pipeline()
    return new_t5(copy.deepcopy(source.text_encoder_2)), new_clip(source.text_encoder)


@torch.no_grad()
def read(t5_ids: Tensor, clip_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Encode tokens as StableDiffusionXLPipeline does.

    Args:
        t5_ids, clip_ids: int64 of shape (n, MAX_TOKENS).

    Returns:
        Embeddings of the tokens (n, MAX_TOKENS, T5_WIDTH + CLIP_WIDTH) and of the sentence (n, CLIP_WIDTH).
    """
    t5, clip = encoders()
    pooled = clip(clip_ids, output_hidden_states=True)
    tokens = t5(t5_ids, output_hidden_states=True).hidden_states[-2]
    assert pooled.text_embeds.shape[-1] == CLIP_WIDTH
    return torch.cat([tokens, pooled.hidden_states[-2]], dim=-1), pooled.text_embeds
