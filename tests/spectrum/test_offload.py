"""Offloading of weights: on a forecast step the blocks do not run, and every other weight must still be there.

Outputs are compared bit for bit with those of the same pipeline, forecasting too, that keeps its weights.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from diffusers.hooks.group_offloading import GroupOffloadingConfig, GroupOffloadingType, ModuleGroup
from diffusers.hooks.group_offloading import _apply_group_offloading as apply_group_offloading

from spectrum import SpectrumConfig, attach
from tests.spectrum.devices import CUDA, DEVICES
from tests.spectrum.probe import denoiser_of
from tests.spectrum.tiny import FAMILIES, Family

# Evaluated, forecast, evaluated, forecast, forecast; then another trajectory: every order but that of plain runs.
CONFIG, STEPS = SpectrumConfig(warmup_steps=1, flex_window=1), 5
NAMES = ("flux", "sd3", "sdxl", "wan", "hunyuan")
GRANULARITIES: dict[str, dict[str, Any]] = {
    "block_level": {"num_blocks_per_group": 1},
    "leaf_level": {},
}


@pytest.fixture(params=NAMES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def run(family: Family, pipe: Any, device: str) -> torch.Tensor:
    arguments: dict[str, Any] = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in family.arguments(1, True).items()
    }
    return family.run(pipe, num_inference_steps=STEPS, **arguments).cpu()


@cache
def kept_in_place(name: str, device: str) -> torch.Tensor:
    family = FAMILIES[name]
    pipe = family.make().to(device)
    with attach(pipe, CONFIG):
        return run(family, pipe, device)


def check(
    family: Family, pipe: Any, device: str, expected: torch.Tensor, same: Callable[..., bool] = torch.equal
) -> None:
    """Two trajectories attached, one plain, one attached again."""
    with attach(pipe, CONFIG) as handle:
        for _ in range(2):
            assert same(run(family, pipe, device), expected)
            assert handle.statistics.evaluated_steps == 2 and handle.statistics.forecast_calls > 0
    assert not same(run(family, pipe, device), expected)
    with attach(pipe, CONFIG):
        assert same(run(family, pipe, device), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_model_offloading(family, device):
    expected = kept_in_place(family.name, device)
    pipe = family.make()
    pipe.enable_model_cpu_offload(device=device)
    check(family, pipe, device, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_sequential_offloading(family, device):
    """Every leaf's weights are on the meta device but while it runs."""
    expected = kept_in_place(family.name, device)
    pipe = family.make()
    if device == "cpu":  # what the pipeline's method does, with a name of the CPU that accelerate understands
        cpu_offload(denoiser_of(pipe), "cpu", offload_buffers=len(denoiser_of(pipe)._parameters) > 0)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    assert any(parameter.is_meta for parameter in denoiser_of(pipe).parameters())
    check(family, pipe, device, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_group_offloading(family, granularity, device):
    expected = kept_in_place(family.name, device)
    pipe = family.make()
    options = {"offload_type": granularity, **GRANULARITIES[granularity]}
    denoiser_of(pipe).enable_group_offload(onload_device=torch.device(device), **options)
    check(family, pipe, device, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_group_offloading_to_disk(family, granularity, device, tmp_path: Path):
    """Weights that were read from a file may lie elsewhere in memory, which changes last bits on a CPU."""
    expected = kept_in_place(family.name, device)
    pipe = family.make()
    options = {"offload_type": granularity, **GRANULARITIES[granularity]}
    denoiser_of(pipe).enable_group_offload(
        onload_device=torch.device(device), offload_to_disk_path=str(tmp_path), **options
    )
    check(family, pipe, device, expected, lambda a, b: torch.allclose(a, b, rtol=1e-5, atol=1e-5))


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize("record_stream", [False, True])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_group_offloading_with_prefetching(family, granularity, record_stream, device):
    expected = kept_in_place(family.name, device)
    pipe = family.make()
    options = {"offload_type": granularity, **GRANULARITIES[granularity]}
    denoiser_of(pipe).enable_group_offload(
        onload_device=torch.device(device), use_stream=True, record_stream=record_stream, **options
    )
    check(family, pipe, device, expected)


class SideStream:
    """Stands in for a stream of an accelerator: what is put on it happens when somebody waits for it, no sooner."""

    def __init__(self) -> None:
        self.copies: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.count = 0

    def put(self, to: torch.Tensor, source: torch.Tensor) -> None:
        self.copies.append((to, source))
        self.count += 1

    def synchronize(self) -> None:
        for to, source in self.copies:
            to.copy_(source)
        self.copies.clear()


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the transfers of diffusers' groups: weights that rest are not-a-number, on the CPU like all else.

    The order of the modules, what is fetched and when it is waited for are diffusers' own. It looks at devices to
    find out whether a group rests, so a group's name for where it would rest tells it.
    """
    weights: dict[torch.Tensor, torch.Tensor] = {}
    resting, loaded = torch.device("cpu"), torch.device("meta")

    def tensors_of(group: ModuleGroup) -> list[torch.Tensor]:
        inside = [tensor for module in group.modules for tensor in (*module.parameters(), *module.buffers())]
        return [*inside, *group.parameters, *group.buffers]

    def onload(group: ModuleGroup) -> None:
        group.offload_device = loaded
        if group.stream is not None:
            group.stream.synchronize()
        for tensor in tensors_of(group):
            tensor.data = nothing(tensor)
            if group.stream is None or not group.non_blocking:
                tensor.data.copy_(weights[tensor])
            else:
                group.stream.put(tensor.data, weights[tensor])

    def offload(group: ModuleGroup) -> None:
        group.offload_device = resting
        for tensor in tensors_of(group):
            weights.setdefault(tensor, tensor.data)
            tensor.data = nothing(tensor)

    def nothing(tensor: torch.Tensor) -> torch.Tensor:
        return torch.full_like(tensor.data, float("nan") if tensor.is_floating_point() else -1)

    monkeypatch.setattr(ModuleGroup, "_onload_from_memory", onload)
    monkeypatch.setattr(ModuleGroup, "_offload_to_memory", offload)


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_group_offloading_finds_its_weights_where_blocks_do_not_run(family, granularity, prefetch, transfers):
    expected = kept_in_place(family.name, "cpu")
    pipe = family.make()
    stream = SideStream() if prefetch else None
    config = GroupOffloadingConfig(
        onload_device=torch.device("cpu"),
        offload_device=torch.device("cpu"),
        offload_type=GroupOffloadingType(granularity),
        non_blocking=False,
        record_stream=False,
        low_cpu_mem_usage=True,
        stream=stream,
        **GRANULARITIES[granularity],
    )
    apply_group_offloading(denoiser_of(pipe), config)
    check(family, pipe, "cpu", expected)
    assert stream is None or stream.count > 0
