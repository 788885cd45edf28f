"""The stacks and heads of one denoiser: what is emptied on a forecast step, and what the forecast enters."""

from typing import Any

from torch import nn

from spectrum.denoisers import DenoiserSpec
from spectrum.errors import SpectrumError
from spectrum.interception import is_compiled


class _StandIn(nn.Module):
    """A block of two streams that does nothing."""

    def forward(self, *, hidden_states: Any, encoder_hidden_states: Any, **_: Any) -> tuple[Any, Any]:
        return hidden_states, encoder_hidden_states


def heads_of(denoiser: nn.Module, spec: DenoiserSpec) -> list[tuple[int, nn.Module]]:
    """Return the modules that forecasts enter, each with its head's place in `spec.heads`."""
    heads = [getattr(denoiser, name) for name in spec.heads]
    return [
        (place, module)
        for place, head in enumerate(heads)
        for module in (head.values() if isinstance(head, nn.ModuleDict) else [head])
    ]


def empty_stacks(denoiser: nn.Module, spec: DenoiserSpec) -> dict[str, nn.ModuleList | None]:
    """Return what takes the place of each stack on a forecast step.

    A list without blocks or with a stand-in; None for a stack that is a single block.
    """
    return {
        name: nn.ModuleList([_StandIn()] if name in spec.stand_ins else [])
        if isinstance(getattr(denoiser, name), nn.ModuleList)
        else None
        for name in spec.stacks
    }


def check_not_compiled(name: str, denoiser: nn.Module) -> None:
    """Refuse a denoiser in whose calls nobody can step in; `name` is the one it has in its pipeline.

    Raises:
        SpectrumError: It is compiled as a whole.
    """
    if is_compiled(denoiser):
        raise SpectrumError(
            f"the pipeline's {name} is compiled as a whole, stacks included: use compile_repeated_blocks() instead, "
            "or forecast its output"
        )
