"""What tests look at from outside: a pipeline's blocks, what its denoisers compute, what attach could leave behind."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spectrum import SpectrumConfig, SpectrumError, StepPlan, attach
from spectrum.denoisers import spec_of
from spectrum.stacks import heads_of
from tests.spectrum.tiny import oracle

OPTIONS: dict[str, Any] = {"w": 0.5, "lam": 0.1, "m": 4}
CONFIG = SpectrumConfig(**OPTIONS, warmup_steps=3)
EVALUATED, FORECAST = (0, 1, 2, 4, 6), (3, 5, 7, 8)  # of 9 steps
FEW = SpectrumConfig(**OPTIONS, warmup_steps=2, flex_window=1)  # evaluates 0 1 3, forecasts 2 4 5 of 6 steps


def denoisers_of(pipe: Any) -> list[Any]:
    names = ("transformer", "transformer_2", "unet")
    return [getattr(pipe, name) for name in names if getattr(pipe, name, None) is not None]


def denoiser_of(pipe: Any) -> Any:
    return denoisers_of(pipe)[0]


def stacks_of(pipe: Any) -> list[Any]:
    return [getattr(denoiser, name) for denoiser in denoisers_of(pipe) for name in spec_of(denoiser).stacks]


def blocks_of(denoiser: nn.Module) -> list[nn.Module]:
    stacks = [getattr(denoiser, name) for name in spec_of(denoiser).stacks]
    return [block for stack in stacks for block in (stack if isinstance(stack, nn.ModuleList) else [stack])]


class Watch:
    """Notes, for each denoiser call, how many blocks ran and what entered the heads after Spectrum's hooks."""

    def __init__(self, denoiser: nn.Module) -> None:
        self.calls: list[dict] = []
        denoiser.register_forward_pre_hook(lambda *_: self.calls.append({"blocks": 0, "features": {}}))
        for block in blocks_of(denoiser):
            block.register_forward_pre_hook(lambda *_: self._block_ran())
        for place, module in heads_of(denoiser, spec_of(denoiser)):
            module.register_forward_pre_hook(self._noting(place))

    def _block_ran(self) -> None:
        self.calls[-1]["blocks"] += 1

    def _noting(self, place: int) -> Any:
        return lambda _, args: self.calls[-1]["features"].update({place: args[0].clone()})


def check_forecasts(features: list[torch.Tensor], plan: StepPlan) -> None:
    """Checks what entered a head at each step against the oracle: on forecast steps, what it makes of the others."""
    flat = [feature.double().flatten().numpy() for feature in features]
    assert len(flat) == plan.num_steps
    for step in plan.forecast:
        before = tuple(evaluated for evaluated in plan.evaluated if evaluated < step)
        recorded = np.stack([flat[evaluated] for evaluated in before])
        expected = oracle(recorded, before, step, **OPTIONS, horizon=plan.num_steps)
        error = flat[step] - expected
        assert (error**2).sum() <= 1e-12 * (expected**2).sum()


def traces_of(pipe: Any) -> tuple:
    """Everything that attach could leave behind: attribute names, hooks, submodules."""
    modules = [
        (
            name,
            id(module),
            list(module.__dict__),
            list(module._modules.items()),
            [dict(value) for key, value in vars(module).items() if key.endswith("hooks")],
            list(module._forward_hooks_always_called) + list(module._forward_pre_hooks_with_kwargs),
        )
        for denoiser in denoisers_of(pipe)
        for name, module in denoiser.named_modules()
    ]
    return list(vars(pipe)), list(vars(pipe.scheduler)), modules


def refuses(pipe: Any, match: str, target: str = "features") -> None:
    """Checks that attach raises, and that nothing was changed then."""
    before = traces_of(pipe)
    with pytest.raises(SpectrumError, match=match):
        attach(pipe, CONFIG, target=target)
    assert traces_of(pipe) == before


def to_bfloat16(denoiser: nn.Module) -> None:
    """As `from_pretrained` does it: some models keep some of their weights in float32."""
    kept = getattr(denoiser, "_keep_in_fp32_modules", None) or ()
    for name, parameter in denoiser.named_parameters():
        if not any(part in name for part in kept):
            parameter.data = parameter.data.bfloat16()


def in_bfloat16(arguments: dict) -> dict:
    """A pipeline's arguments with their embeddings rounded, in lists too."""

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return value.bfloat16() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    return {name: rounded(value) for name, value in arguments.items()}
