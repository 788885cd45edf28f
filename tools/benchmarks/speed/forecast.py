"""What a forecast costs beside a plain copy that moves as many bytes of memory."""

import statistics
from typing import Any

import torch

from spectrum import History
from tools.benchmarks.common.denoisers import Model, Scale
from tools.benchmarks.common.device import free_bytes, host_clock, synchronize

ROWS = (14, 10)  # evaluations of 50 steps at flex 0.75 and 3


def forecast_ratio(
    model: Model, factor: float, rows: int, dtype: torch.dtype, device: torch.device, repeats: int
) -> dict[str, Any]:
    """Time the weighted sum over ``rows`` features of the model, and the copy, in turns.

    A forecast of F elements reads K rows and writes one: (K + 1) F elements moved. A copy of half as many reads and
    writes the same number. Where both would take more than half of the memory that is free, the row says what they
    need under ``left_out_gb``.
    """
    shape = model.size(Scale(factor)).feature
    elements = torch.Size(shape).numel()
    moved = (rows + 1) * elements * dtype.itemsize
    row: dict[str, Any] = {"rows": rows, "dtype": str(dtype).removeprefix("torch."), "feature": list(shape)}
    needed = 2 * moved
    if needed > free_bytes(device) / 2:
        return row | {"left_out_gb": needed / 1e9}

    history = History(rows)
    feature = torch.randn(shape, device=device, dtype=dtype)
    for index in range(rows):
        history.store(index, feature)
    weights = [(-1) ** index * (index + 1) / rows for index in range(rows)]
    source = torch.ones(moved // dtype.itemsize // 2, device=device, dtype=dtype)
    target = torch.zeros_like(source)
    seconds: dict[str, list[float]] = {"forecast": [], "copy": []}
    clock = host_clock(device)
    for repeat in range(repeats + 1):
        for name, work in (("forecast", lambda: history.forecast(weights)), ("copy", lambda: target.copy_(source))):
            synchronize(device)
            start = clock()
            work()
            synchronize(device)
            if repeat:
                seconds[name].append(clock() - start)
    ratios = [forecast / copy for forecast, copy in zip(seconds["forecast"], seconds["copy"], strict=True)]
    return row | {
        "moved_bytes": moved,
        "forecast_ms": 1e3 * statistics.median(seconds["forecast"]),
        "copy_ms": 1e3 * statistics.median(seconds["copy"]),
        "ratio": statistics.median(ratios),
    }
