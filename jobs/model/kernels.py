"""Which kernels a denoiser computes with: its attention backend, and whether it is compiled."""

from typing import Any

from jobs.base.errors import BadInput, first_line
from jobs.model.sources import source_of_class
from jobs.options.schema import Options

RECOMPILES = 1000  # of one function, for as many shapes; beyond it, calls would run uncompiled without a word


def check_kernels(options: Options, denoiser: str | None) -> None:
    """Refuse an attention backend or a compilation that will not work, before a model is loaded.

    Args:
        options: the run's.
        denoiser: the class of the denoiser; None where it is not known yet.

    Raises:
        BadInput: names the option.
    """
    model = options.model
    if model.compile in ("whole", "max-autotune") and options.algo.name == "spectrum":
        if options.algo.target != "output":
            raise BadInput(
                f"model.compile={model.compile} compiles the layers in that algo.target=features skips: use "
                "algo.target=output or algo=nocache, or model.compile=blocks"
            )
        if options.parallel.size > 1:
            raise BadInput(f"model.compile={model.compile} does not go with {options.parallel}: use blocks or none")
    if model.attention is not None:
        _check_attention(model.attention, denoiser)


def _check_attention(name: str, denoiser: str | None) -> None:
    from jobs.parallel.diffusers_private import attention_backends, require_attention_backend

    if name not in attention_backends():
        raise BadInput(f"model.attention={name} is not known: choose one of {', '.join(attention_backends())}")
    try:
        require_attention_backend(name)
    except (RuntimeError, ImportError) as error:
        raise BadInput(f"model.attention={name} cannot be used here: {first_line(error)}") from None
    # What does not mention it computes attention in a way of its own, whatever is chosen.
    if denoiser is not None and name != "native" and "_attention_backend" not in source_of_class(denoiser):
        raise BadInput(
            f"model.attention={name} has no effect on {denoiser}, whose attention is PyTorch's own: leave it out"
        )


def set_attention(denoiser: Any, name: str) -> None:
    """Let a denoiser compute attention with a backend of diffusers.

    Raises:
        BadInput: it cannot be used on this machine.
    """
    try:
        denoiser.set_attention_backend(name)
    except (ValueError, RuntimeError, ImportError) as error:
        raise BadInput(f"model.attention={name} cannot be used here: {first_line(error)}") from error


def compile_denoiser(denoiser: Any, mode: str) -> None:
    """Compile a denoiser, anew for each shape.

    Kernels for changing shapes would make a sample's bytes depend on which shapes the process had met before.

    Args:
        denoiser: a diffusers model.
        mode: ``blocks``, ``whole`` or ``max-autotune``.
    """
    import torch

    # Kernels chosen by timing may differ from process to process, and with them a resumed shard's last bits.
    torch._inductor.config.deterministic = mode != "max-autotune"
    torch._dynamo.config.recompile_limit = RECOMPILES
    torch._dynamo.config.accumulated_recompile_limit = max(RECOMPILES, torch._dynamo.config.accumulated_recompile_limit)
    if mode != "blocks":
        denoiser.compile(dynamic=False, mode="max-autotune" if mode == "max-autotune" else None)
    elif denoiser._repeated_blocks:
        denoiser.compile_repeated_blocks(dynamic=False)
    else:  # a class that does not say which blocks repeat, such as SD3's
        from spectrum.denoisers import spec_of

        for stack in spec_of(denoiser).stacks:
            for block in getattr(denoiser, stack):
                block.compile(dynamic=False)


def denoiser_class(index: dict[str, Any]) -> str | None:
    """Return the class of the (first) denoiser that a ``model_index.json`` names."""
    for part in ("transformer", "unet"):
        library, name = index.get(part) or (None, None)
        if library == "diffusers":
            return str(name)
    return None
