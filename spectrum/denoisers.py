"""The table of denoisers: where the block stacks and the final norm of each family are.

A forecast step runs a denoiser's own forward with its stacks empty and the input of its head replaced. A
family is therefore one row here.
"""

from dataclasses import dataclass

from torch import nn

from spectrum.errors import SpectrumError


@dataclass(frozen=True)
class DenoiserSpec:
    """How to forecast one family of denoisers.

    Attributes:
        class_name: The diffusers class; subclasses match too.
        stacks: Attributes that hold the blocks: lists of blocks, or a single block that forward skips when it
            is None.
        head: Attribute of the final norm, called with the last block's output as its first positional
            argument.
        head_upcasts: Forward hands the head a float32 copy of the model's own dtype; the history keeps the
            latter.
        stack_inputs: Keyword arguments that forward adds to the blocks' outputs, outside of the blocks:
            residuals whose shapes fit nothing while the stacks are empty. Left out on a forecast step.
    """

    class_name: str
    stacks: tuple[str, ...]
    head: str = "norm_out"
    head_upcasts: bool = False
    stack_inputs: tuple[str, ...] = ()


DENOISERS = (
    DenoiserSpec("FluxTransformer2DModel", stacks=("transformer_blocks", "single_transformer_blocks")),
    DenoiserSpec("HunyuanVideoTransformer3DModel", stacks=("transformer_blocks", "single_transformer_blocks")),
    DenoiserSpec("SD3Transformer2DModel", stacks=("transformer_blocks",)),
    DenoiserSpec("WanTransformer3DModel", stacks=("blocks",), head_upcasts=True),
    DenoiserSpec(
        "UNet2DConditionModel",
        stacks=("down_blocks", "mid_block", "up_blocks"),
        head="conv_norm_out",
        # Without the down blocks' residuals it leaves the middle block's alone too.
        stack_inputs=("down_block_additional_residuals",),
    ),
)


def spec_of(denoiser: nn.Module) -> DenoiserSpec:
    """Finds the row of a denoiser by the names of its class and base classes.

    Raises:
        SpectrumError: No row fits, or the denoiser was built without the head.
    """
    rows = {row.class_name: row for row in DENOISERS}
    for cls in type(denoiser).__mro__:
        if cls.__name__ in rows:
            spec = rows[cls.__name__]
            if getattr(denoiser, spec.head) is None:
                raise SpectrumError(
                    f"This {spec.class_name} has no {spec.head}, where forecasts enter; use it without Spectrum."
                )
            return spec
    raise SpectrumError(
        f"Spectrum does not know the denoiser {type(denoiser).__name__}, only {', '.join(rows)}; "
        "use one of these or add a row to spectrum.denoisers.DENOISERS."
    )


def empty_stacks(denoiser: nn.Module, spec: DenoiserSpec) -> dict[str, nn.ModuleList | None]:
    """What takes the place of each stack on a forecast step: an empty list, or None for a single block."""
    return {
        name: nn.ModuleList() if isinstance(getattr(denoiser, name), nn.ModuleList) else None for name in spec.stacks
    }
