"""The file of one machine's results: what is measured anew replaces what was there, everything else stays."""

import json
import re
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tools.bench_runner.machine import describe
from tools.bench_speed.timing import host_clock

LIBRARIES = ("torch", "diffusers", "cache-dit", "numpy")


def machine(device: torch.device) -> dict[str, Any]:
    """The hardware, the versions, and the settings of torch that times depend on."""
    described = describe(Path(tempfile.gettempdir()), libraries=tuple(name for name in LIBRARIES if _installed(name)))
    found = {
        "device": described["cpu"],
        "memory_gib": described["memory_gib"],
        "cores": described["cores"],
        "threads": torch.get_num_threads(),
        "python": described["python"],
        "libraries": described["libraries"],
        "settings": _settings(device),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"device": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        found["libraries"] |= {"CUDA": torch.version.cuda, "cuDNN": str(torch.backends.cudnn.version())}
    return found


def path_of(folder: Path, device: str) -> Path:
    """The file of the results on a device of that name."""
    return folder / f"speed-{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


def load(path: Path, here: dict[str, Any]) -> dict[str, Any]:
    """The earlier results, or empty ones if there are none or they were made by other versions."""
    empty: dict[str, Any] = {"machine": here, "tables": {}, "forecasts": {}}
    try:
        earlier = json.loads(path.read_text())
    except FileNotFoundError:
        return empty
    if any(earlier["machine"][name] != here[name] for name in ("device", "libraries", "settings")):
        print(f"{path} was made with other versions or settings: starting anew", file=sys.stderr)
        return empty
    return earlier | {"machine": here}


def put_rows(results: dict[str, Any], head: dict[str, Any], rows: dict[str, Any]) -> None:
    """Puts rows, by the method's name, into the table of their model, scale, number of steps and dtype."""
    key = f"{head['model']}, scale {head['scale']:g}, {head['steps']} steps, {head['dtype']}"
    table = results["tables"].setdefault(key, {"rows": {}})
    table |= head
    table["rows"] |= rows


def put_forecast(results: dict[str, Any], head: dict[str, Any], row: dict[str, Any]) -> None:
    """Puts one row of the forecasts' table."""
    key = f"{head['model']}, scale {head['scale']:g}, {row['rows']} rows, {row['dtype']}"
    results["forecasts"][key] = head | row


def _installed(library: str) -> bool:
    try:
        return bool(version(library))
    except PackageNotFoundError:
        return False


def _settings(device: torch.device) -> dict[str, Any]:
    """The clock, and torch's own defaults, which nothing here changes."""
    cuda = torch.backends.cuda
    kernels = {
        "flash": cuda.flash_sdp_enabled(),
        "memory-efficient": cuda.mem_efficient_sdp_enabled(),
        "cuDNN": cuda.cudnn_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
    }
    return {
        "clock": "processor" if host_clock(device) is time.process_time else "wall",
        "attention": "scaled_dot_product_attention, kernels allowed: "
        + ", ".join(k for k, on in kernels.items() if on),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "compiled": False,
    }
