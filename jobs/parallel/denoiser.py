"""Shares one denoiser call among the ranks of a process group: each computes a part of the sequence.

Built on diffusers' context parallelism: hooks split tensors where the sequence begins and gather them where it ends,
and attention exchanges heads for tokens (Ulysses) or passes keys around (ring). What diffusers has no plan for is here.
"""

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from jobs.options.degrees import Degrees
from jobs.parallel.diffusers_private import ContextParallelInput, ContextParallelOutput, ParallelConfig


def make_mesh(degrees: Degrees, device: str) -> Any:
    """The ranks of the default process group by their part in (cfg, ring, ulysses); every rank calls it alike."""
    shape = (degrees.cfg, degrees.ring, degrees.ulysses)
    return init_device_mesh(torch.device(device).type, shape, mesh_dim_names=("cfg", "ring", "ulysses"))


def share_denoiser(denoiser: Any, degrees: Degrees, mesh: Any, device: str = "cpu") -> None:
    """Make a denoiser compute its sequence together with the other ranks; every rank calls it alike.

    Unlike ``enable_parallelism`` it does not ask how many accelerators the machine has, so that it works on CPUs too.

    Args:
        denoiser: a diffusers transformer, of a class in ``limits.DENOISERS``.
        degrees: of which ``ulysses`` and ``ring`` count here.
        mesh: ``make_mesh``.
        device: torch device of this rank.
    """
    from diffusers import ContextParallelConfig
    from diffusers.hooks.context_parallel import apply_context_parallel

    name = type(denoiser).__name__
    plan = _PLANS[name]() if name in _PLANS else denoiser._cp_plan
    parts = ContextParallelConfig(ring_degree=degrees.ring, ulysses_degree=degrees.ulysses)
    config = ParallelConfig(context_parallel_config=parts)
    mine = mesh["ring", "ulysses"]
    config.setup(torch.distributed.get_rank(), degrees.sequence, torch.device(device), mesh=mine)
    whole = {id(module) for part in _WHOLE.get(name, ()) for module in getattr(denoiser, part).modules()}
    for module in denoiser.modules():
        processor: Any = getattr(module, "processor", None)
        if hasattr(processor, "_parallel_config") and id(module) not in whole:
            processor._parallel_config = config
    denoiser._parallel_config = config
    if degrees.ring > 1:  # PyTorch's choice among its kernels does not tell the sums that joining the parts takes
        denoiser.set_attention_backend("_native_flash")
    apply_context_parallel(denoiser, config.context_parallel_config, plan)
    if name == "HunyuanVideoTransformer3DModel":
        _keep_whole_mask(denoiser)


def _hunyuan_video_plan() -> dict[str, Any]:
    """Pictures' and text's tokens are split alike, so that each rank's part is [its picture tokens, its text tokens].

    The model pads text at its end and builds the attention's mask from the number of tokens that are not padding. Given
    its own part of the text's mask, each rank builds the mask of its own part, and the attention gathers these in the
    order in which it gathers the keys.
    """

    def output(dim: int, dims: int) -> Any:
        return ContextParallelInput(split_dim=dim, expected_dims=dims, split_output=True)

    return {
        "": {"encoder_attention_mask": ContextParallelInput(split_dim=1, expected_dims=2)},
        "x_embedder": {0: output(1, 3)},
        "context_embedder": {0: output(1, 3)},
        "rope": {0: output(0, 2), 1: output(0, 2)},
        "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
    }


def _keep_whole_mask(denoiser: Any) -> None:
    """The text's own encoder computes all of the text on every rank, with all of its mask."""
    whole: list[torch.Tensor] = []

    def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        whole[:] = [kwargs["encoder_attention_mask"]]

    def restore(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*args[:2], whole.pop())

    denoiser.register_forward_pre_hook(remember, with_kwargs=True)
    denoiser.context_embedder.register_forward_pre_hook(restore)


_PLANS = {"HunyuanVideoTransformer3DModel": _hunyuan_video_plan}
_WHOLE = {"HunyuanVideoTransformer3DModel": ("context_embedder",)}  # parts whose attention is not shared
