"""What the machine of the ranks can do: arithmetic and copies of all ranks at once, and collectives of some sizes."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional

from tools.benchmarks.common.device import synchronize

REPEATS = 9
SIZES = {"cpu": (2**12, 2**16, 2**18, 2**20, 2**22), "cuda": (2**16, 2**20, 2**23, 2**26, 2**28)}  # bytes of a rank
WIDTH = {"cpu": 1024, "cuda": 8192}  # of a square matrix product
COPY = {"cpu": 2**24, "cuda": 2**28}  # elements: more than caches hold


def microbenchmarks(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Measure medians on this rank; every rank calls this alike and begins each repeat together.

    Returns:
        ``copy``: bytes read and written with the seconds that takes; ``exchange`` and ``gather``: for each
        size, the bytes that a rank sends and the seconds that takes, nothing on one rank.
    """
    kind, ranks = device.type, dist.get_world_size()
    source = torch.ones(COPY[kind], device=device, dtype=dtype)
    target = torch.zeros_like(source)
    found: dict[str, Any] = {
        "copy": [[2 * source.nbytes, _median(lambda: target.copy_(source), device)]],
        "exchange": [],
        "gather": [],
    }
    for size in SIZES[kind] if ranks > 1 else ():
        data = torch.ones(size, device=device, dtype=torch.uint8)
        part = size // ranks
        found["exchange"].append([part * (ranks - 1), _median(partial(_exchange, data), device)])
        found["gather"].append([size * (ranks - 1), _median(partial(_gather, data), device)])
    return found


class Reference:
    """A matrix product, whose time tells how fast a rank computes at the moment.

    Ranks that share cores, or other programs, slow it down as they slow down a step.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._square = torch.ones(WIDTH[device.type], WIDTH[device.type], device=device, dtype=dtype)

    def seconds(self) -> float:
        """Return the time of one that all ranks begin together."""
        dist.barrier()
        synchronize(self._device)
        start = time.perf_counter()
        self._square @ self._square
        synchronize(self._device)
        return time.perf_counter() - start


def _exchange(data: torch.Tensor) -> None:
    """Exchange as diffusers' Ulysses attention does."""
    functional.wait_tensor(functional.all_to_all_single(data, None, None, _everyone()))


def _gather(data: torch.Tensor) -> None:
    """Gather as diffusers' output hooks do."""
    functional.wait_tensor(functional.all_gather_tensor(data, 0, _everyone()))


def _everyone() -> dist.ProcessGroup:
    assert dist.group.WORLD
    return dist.group.WORLD


def _median(work: Callable[[], Any], device: torch.device) -> float:
    seconds = []
    for repeat in range(REPEATS + 2):
        dist.barrier()
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        if repeat >= 2:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
