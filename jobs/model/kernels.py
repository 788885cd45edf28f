"""Which kernels a denoiser computes with: its attention backend, and whether it is compiled."""

import os
from typing import Any

from jobs.base.errors import BadInput, first_line
from jobs.model.padding import DENOISER
from jobs.model.sources import module_of
from jobs.options.schema import Options
from spectrum.denoisers import IN_PIPELINES

RECOMPILES = 1000  # of one function, for as many shapes; beyond it, calls would run uncompiled without a word


def check_kernels(options: Options, denoisers: list[str]) -> None:
    """Refuse an attention backend or a compilation that will not work, before a model is loaded.

    Args:
        options: the run's.
        denoisers: their classes, as far as they are known.

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
    if model.drop_padding:
        check_padding(model.compile, denoisers)
    if model.attention is not None:
        check_attention(model.attention, denoisers)
    backend = model.attention or os.environ.get("DIFFUSERS_ATTN_BACKEND")
    if backend and DENOISER in denoisers:
        check_masks(backend, options)


def check_padding(compile: str, denoisers: list[str]) -> None:
    """Refuse to drop the padding of texts where there is none, or where each length of a text would be compiled for.

    Raises:
        BadInput: says which.
    """
    if other := [name for name in denoisers if name != DENOISER]:
        raise BadInput(f"model.drop_padding=true is for HunyuanVideo ({DENOISER}), not for {other[0]}: leave it out")
    if compile != "none":
        raise BadInput(
            f"model.drop_padding=true makes sequences of many lengths, for each of which model.compile={compile} would "
            "take minutes: leave one of the two out"
        )


def check_attention(name: str, denoisers: list[str]) -> None:
    """Refuse an attention backend that this machine, or one of these classes of denoisers, cannot use.

    Raises:
        BadInput: says which.
    """
    from jobs.parallel.diffusers_private import attention_backends, require_attention_backend

    if name not in attention_backends():
        raise BadInput(f"model.attention={name} is not known: choose one of {', '.join(attention_backends())}")
    try:
        require_attention_backend(name)
    except (RuntimeError, ImportError) as error:
        raise BadInput(f"model.attention={name} cannot be used here: {first_line(error)}") from None
    # What does not mention it computes attention in a way of its own, whatever is chosen.
    for denoiser in denoisers if name != "native" else ():
        if "_attention_backend" not in module_of(denoiser):
            raise BadInput(
                f"model.attention={name} has no effect on {denoiser}, whose attention is PyTorch's own: leave it out"
            )


def check_masks(name: str, options: Options) -> None:
    """Refuse a backend that takes no masks where HunyuanVideo makes them.

    Raises:
        BadInput: says what leaves none.
    """
    from jobs.parallel.diffusers_private import refuses_masks

    if not refuses_masks(name):
        return
    said = f"attention backend {name} takes no masks, and HunyuanVideo masks the padding of texts"
    if not options.model.drop_padding:
        raise BadInput(f"{said}: add model.drop_padding=true, or choose another backend")
    if options.batch_size > 1:
        raise BadInput(f"{said} of different lengths also with drop_padding: use batch_size=1, or another backend")
    if options.parallel.sequence > 1:
        raise BadInput(
            f"{said} also with drop_padding where {options.parallel} does not divide their lengths: use another backend"
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

    torch._dynamo.config.recompile_limit = RECOMPILES
    torch._dynamo.config.accumulated_recompile_limit = max(RECOMPILES, torch._dynamo.config.accumulated_recompile_limit)
    if mode == "max-autotune":
        denoiser.compile(dynamic=False, mode="max-autotune")
        return
    # Kernels chosen by timing may differ from process to process, and with them a resumed shard's last bits. An option
    # of each compilation, since each puts torch._inductor.config.deterministic back to what PyTorch's own mode is.
    how: dict[str, Any] = {"dynamic": False, "options": {"deterministic": True}}
    if mode == "whole":
        denoiser.compile(**how)
    elif denoiser._repeated_blocks:
        denoiser.compile_repeated_blocks(**how)
    else:  # a class that does not say which blocks repeat, such as SD3's
        from spectrum.denoisers import spec_of

        for stack in spec_of(denoiser).stacks:
            for block in getattr(denoiser, stack):
                block.compile(**how)


def denoiser_classes(index: dict[str, Any]) -> list[str]:
    """Return the classes of the denoisers that a ``model_index.json`` names, as far as they are diffusers' own."""
    parts = (index.get(name) or (None, None) for name in IN_PIPELINES)
    return [str(name) for library, name in parts if library == "diffusers"]
