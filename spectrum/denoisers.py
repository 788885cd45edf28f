"""The table of denoisers: where the block stacks and the final norms of each family are.

A forecast step runs a denoiser's own forward with its stacks empty and the input of its heads replaced. A
family is therefore one row here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrum.errors import SpectrumError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class DenoiserSpec:
    """How to forecast one family of denoisers.

    Attributes:
        class_name: The diffusers class; subclasses match too.
        stacks: Attributes that hold the blocks: lists of blocks, or a single block that forward skips when it
            is None. Blocks that only prepare the input of others (refiners) belong here too.
        heads: Attributes of the final norms, each called with the last block's output as its first positional
            argument; a ModuleDict stands for whichever of its modules forward calls.
        head_upcasts: Forward hands the heads a float32 copy of the model's own dtype; the history keeps the
            latter.
        stack_inputs: Keyword arguments that forward adds to the blocks' outputs, outside of the blocks, or
            counts against them: residuals that fit nothing while the stacks are empty. Left out on a forecast
            step.
        stand_ins: Those of the stacks that must not be empty, since forward goes on with a name that is bound
            in their loop; one block that does nothing takes their place.
    """

    class_name: str
    stacks: tuple[str, ...] = ("transformer_blocks",)
    heads: tuple[str, ...] = ("norm_out",)
    head_upcasts: bool = False
    stack_inputs: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()


BESIDE = "unconditional_transformer"

# Attributes of pipelines that hold denoisers: one that takes all steps or the first of them, one that takes the others
# (Wan2.2), and one that takes all of them beside the first (Ideogram 4's guidance).
IN_PIPELINES = ("transformer", "transformer_2", BESIDE, "unet")

_TWO_STREAMS = ("transformer_blocks", "single_transformer_blocks")

DENOISERS = (
    # Images
    DenoiserSpec("AuraFlowTransformer2DModel", stacks=("joint_transformer_blocks", "single_transformer_blocks")),
    DenoiserSpec("BriaFiboTransformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("BriaTransformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("ChromaTransformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("CogView3PlusTransformer2DModel"),
    DenoiserSpec("CogView4Transformer2DModel"),
    DenoiserSpec("ErnieImageTransformer2DModel", stacks=("layers",), heads=("final_norm",)),
    DenoiserSpec("Flux2Transformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("FluxTransformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("GlmImageTransformer2DModel"),
    DenoiserSpec(
        "HiDreamImageTransformer2DModel",
        stacks=("double_stream_blocks", "single_stream_blocks"),
        heads=("final_layer",),
        stand_ins=("double_stream_blocks",),
    ),
    DenoiserSpec("HunyuanDiT2DModel", stacks=("blocks",), stack_inputs=("controlnet_block_samples",)),
    DenoiserSpec("HunyuanImageTransformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("Krea2Transformer2DModel", heads=("final_layer",)),
    DenoiserSpec("LongCatImageTransformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("Lumina2Transformer2DModel", stacks=("context_refiner", "noise_refiner", "layers")),
    DenoiserSpec("LuminaNextDiT2DModel", stacks=("layers",)),
    DenoiserSpec("NucleusMoEImageTransformer2DModel"),
    DenoiserSpec("OvisImageTransformer2DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("PixArtTransformer2DModel"),
    DenoiserSpec("QwenImageTransformer2DModel"),
    DenoiserSpec("SanaTransformer2DModel"),
    DenoiserSpec("SD3Transformer2DModel"),
    DenoiserSpec(
        "UNet2DConditionModel",
        stacks=("down_blocks", "mid_block", "up_blocks"),
        heads=("conv_norm_out",),
        # Without the down blocks' residuals it leaves the middle block's alone too.
        stack_inputs=("down_block_additional_residuals",),
    ),
    DenoiserSpec(
        "ZImageTransformer2DModel",
        stacks=("noise_refiner", "context_refiner", "layers"),
        heads=("all_final_layer",),
    ),
    # Videos
    DenoiserSpec("AllegroTransformer3DModel"),
    DenoiserSpec("CogVideoXTransformer3DModel", heads=("norm_final",)),
    DenoiserSpec("CosmosTransformer3DModel"),
    DenoiserSpec("EasyAnimateTransformer3DModel", heads=("norm_final",)),
    DenoiserSpec("HunyuanVideo15Transformer3DModel"),
    DenoiserSpec("HunyuanVideoTransformer3DModel", stacks=_TWO_STREAMS),
    DenoiserSpec(
        "Kandinsky5Transformer3DModel",
        stacks=("text_transformer_blocks", "visual_transformer_blocks"),
        heads=("out_layer",),
    ),
    DenoiserSpec("LatteTransformer3DModel", stacks=("transformer_blocks", "temporal_transformer_blocks")),
    DenoiserSpec("LTX2VideoTransformer3DModel", heads=("norm_out", "audio_norm_out")),
    DenoiserSpec("LTXVideoTransformer3DModel"),
    DenoiserSpec("MochiTransformer3DModel"),
    DenoiserSpec("MotifVideoTransformer3DModel", stacks=_TWO_STREAMS),
    DenoiserSpec("SanaVideoTransformer3DModel"),
    DenoiserSpec("SkyReelsV2Transformer3DModel", stacks=("blocks",), head_upcasts=True),
    DenoiserSpec("WanTransformer3DModel", stacks=("blocks",), head_upcasts=True),
)


def denoisers_of(pipe: Any) -> "dict[str, nn.Module]":
    """Return the denoisers of a pipeline by the names they have there.

    Raises:
        SpectrumError: There is none.
    """
    denoisers = {name: getattr(pipe, name) for name in IN_PIPELINES if getattr(pipe, name, None) is not None}
    if not denoisers:
        raise SpectrumError(f"{type(pipe).__name__} has no transformer or unet that Spectrum could attach to")
    return denoisers


def steps_by_denoiser(pipe: Any, names: Iterable[str], timesteps: "torch.Tensor") -> dict[str, int]:
    """Return how many of the coming steps are each denoiser's part.

    Args:
        pipe: The pipeline.
        names: Of its denoisers.
        timesteps: Of the steps to come, (n,).
    """
    # As Wan2.2 splits them: transformer_2 takes over below a boundary, or has no part where there is none.
    boundary, below = pipe.config.get("boundary_ratio"), 0
    if boundary is not None:
        below = int((timesteps < boundary * pipe.scheduler.config.num_train_timesteps).sum())
    return {name: below if name == "transformer_2" else len(timesteps) - below for name in names}


def spec_of(denoiser: "nn.Module") -> DenoiserSpec:
    """Find the row of a denoiser.

    Raises:
        SpectrumError: No row fits, or the denoiser was built without a head.
    """
    spec = spec_named([cls.__name__ for cls in type(denoiser).__mro__])
    for head in spec.heads:
        if getattr(denoiser, head) is None:
            raise SpectrumError(f"this {spec.class_name} has no {head}, where forecasts enter: use it without Spectrum")
    return spec


def spec_named(names: Sequence[str]) -> DenoiserSpec:
    """Find the row of a denoiser by the name of its class, and of the classes that this is made from.

    Raises:
        SpectrumError: No row fits.
    """
    specs = {spec.class_name: spec for spec in DENOISERS}
    for name in names:
        if name in specs:
            return specs[name]
    raise SpectrumError(
        f"Spectrum does not know the denoiser {names[0]}, only {', '.join(specs)}: "
        "use one of these, add a row to spectrum.denoisers.DENOISERS, or forecast its output"
    )
