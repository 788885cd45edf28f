"""Has HunyuanVideo compute without the padding of its texts, so that its attention needs no mask.

Padding decides nothing: its keys are masked, and what is computed for it is thrown away. But a mask rules out the
fastest kernels, and the model makes one of every text. Sums are taken in another order without it, so last bits differ.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

DENOISER = "HunyuanVideoTransformer3DModel"
_KNOWN = "_cut_of_padding"


@dataclass(frozen=True)
class Cut:
    """What is kept of a batch's texts: so many tokens, and whether none of these is padding."""

    tokens: int
    is_whole: bool


def drop_padding(denoiser: Any, parts: int = 1) -> None:
    """Have a denoiser drop what all texts of a batch have of padding.

    Where texts of one length are left, no mask is made of them; of several lengths the longest decides, and the rest
    is masked as before. To be called before ranks share the denoiser.

    Args:
        denoiser: of the class ``DENOISER``, called by its pipeline: with arguments by name.
        parts: into which ranks split the text: as many tokens are kept as these divide.
    """
    now = [Cut(0, False)]

    def shorten(module: "nn.Module", args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = kwargs["encoder_attention_mask"]
        if not hasattr(mask, _KNOWN):  # the pipeline hands on one tensor at all steps: the host looks at it once
            setattr(mask, _KNOWN, _cut_of(mask, parts))
        (cut,) = now[:] = [getattr(mask, _KNOWN)]
        shorter = {name: kwargs[name][:, : cut.tokens] for name in ("encoder_hidden_states", "encoder_attention_mask")}
        return args, {**kwargs, **shorter}

    def unmask(block: "nn.Module", args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (*args[:3], None, *args[4:]) if now[0].is_whole else None  # the fourth is the mask

    denoiser.register_forward_pre_hook(shorten, with_kwargs=True)
    for block in (*denoiser.transformer_blocks, *denoiser.single_transformer_blocks):
        block.register_forward_pre_hook(unmask)


def _cut_of(mask: "Tensor", parts: int) -> Cut:
    """Return what to keep of texts by their mask (batch, tokens), which is 1 for tokens and 0 for padding."""
    rows = mask.bool().tolist()
    lengths = [sum(row) for row in rows]
    if any(not all(row[:length]) for row, length in zip(rows, lengths, strict=True)):  # not padded at their ends
        return Cut(mask.shape[1], False)
    tokens = -(-max(*lengths, 1) // parts) * parts
    return Cut(tokens, all(length == tokens for length in lengths))
