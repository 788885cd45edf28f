"""The words the models read: a word-level tokenizer in two variants, and the small text encoders."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<s>", "</s>"
MARKS = [PAD, UNK, BOS, EOS]  # ids 0..3; CLIPTextModel has an odd special case for an end mark with id 2
MAX_TOKENS = 16  # the longest caption has 12 words, and the encoders add up to two marks
T5_WIDTH, CLIP_WIDTH = 128, 64
HEAD_OFFSETS = (-1, 1, -3, -2)  # "above a blue square": from "square", its colour at -1 and its relation at -3


def new_tokenizer(known: list[str], with_bos: bool = False) -> PreTrainedTokenizerFast:
    """Make a tokenizer of one id a word, lower-cased; unknown words become ``<unk>``.

    Args:
        known: The words.
        with_bos: Put ``<s>`` before the sentence, as CLIP does; T5 only ends it with ``</s>``.
    """
    vocabulary = {word: index for index, word in enumerate(MARKS + known)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}" if with_bos else f"$A {EOS}",
        special_tokens=[(mark, vocabulary[mark]) for mark in (BOS, EOS)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=MAX_TOKENS,
        padding_side="right",
        pad_token=PAD,
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Tensor:
    """Return token ids, padded: int64 of shape (n, MAX_TOKENS)."""
    return torch.tensor(tokenizer(captions, padding="max_length", max_length=MAX_TOKENS).input_ids)


def new_clip(known: list[str]) -> CLIPTextModel:
    """Make the encoder whose last token steers every block; random weights."""
    ids = {f"{name}_token_id": MARKS.index(mark) for name, mark in (("pad", PAD), ("bos", BOS), ("eos", EOS))}
    config = CLIPTextConfig(
        vocab_size=len(MARKS) + len(known),
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        **ids,
    )
    return CLIPTextModel(config)


def _t5_settings(known: list[str], layers: int) -> dict[str, Any]:
    """Return what the configurations of T5 and UMT5 share."""
    return dict(
        vocab_size=len(MARKS) + len(known),
        d_model=T5_WIDTH,
        d_kv=32,
        num_heads=4,
        d_ff=2 * T5_WIDTH,
        num_layers=layers,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        relative_attention_max_distance=MAX_TOKENS,
        relative_attention_num_buckets=2 * MAX_TOKENS,
        pad_token_id=MARKS.index(PAD),
        eos_token_id=MARKS.index(EOS),
        use_cache=False,
        is_encoder_decoder=False,
    )


def new_t5(known: list[str]) -> T5EncoderModel:
    """Make the encoder whose tokens the image model's pictures attend to; random weights but for ``point_heads``."""
    model = T5EncoderModel(T5Config(**_t5_settings(known, layers=3)))
    point_heads(model)
    return model


def new_umt5(known: list[str]) -> UMT5EncoderModel:
    """Make the video model's text encoder; random weights but for ``point_heads``."""
    model = UMT5EncoderModel(UMT5Config(**_t5_settings(known, layers=2)))
    point_heads(model)
    return model


@torch.no_grad()
def point_heads(model: T5EncoderModel | UMT5EncoderModel) -> None:
    """Start each head looking at one neighbour.

    Flux gives all text tokens one position, Wan none, so only this encoder can tell whose colour is whose. From T5's
    usual, nearly flat start it had not begun to after 800 steps: pictures showed the right words in the wrong order.
    """
    attentions = [block.layer[0].SelfAttention for block in model.encoder.block]
    for attention in attentions:
        if not attention.has_relative_attention_bias:  # T5's later layers use the first one's
            continue
        bias = attention.relative_attention_bias.weight  # (buckets, heads)
        buckets_a_side = bias.shape[0] // 2  # first those of the same or an earlier place, then those of later ones
        for head, offset in enumerate(HEAD_OFFSETS):
            bias[:, head] = 0
            bias[-offset if offset < 0 else buckets_a_side + offset, head] = 5
