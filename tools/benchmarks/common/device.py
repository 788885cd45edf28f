"""The device that torch computes on: its description, its clock and its peak memory."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from tools.benchmarks.common.machine import describe
from tools.benchmarks.common.memory import peak_mb

LIBRARIES = ("torch", "diffusers", "cache-dit", "numpy")


def describe_device(device: torch.device) -> dict[str, Any]:
    """Describe the hardware, the versions, and the settings of torch that times depend on."""
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


def host_clock(device: torch.device) -> Callable[[], float]:
    """Return the clock that times are read from, in seconds.

    For work on one thread of the CPU that is the processor's own: other processes that want the core do not count.
    """
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def synchronize(device: torch.device) -> None:
    """Wait for the work of a GPU; a CPU has none outstanding."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Begin a new peak for ``peak_bytes``; on a CPU only where the system lets a process do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes that were allocated on the GPU, or resident on a CPU, since ``reset_peak``."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else int(1e6 * peak_mb())


def free_bytes(device: torch.device) -> int:
    """Return the bytes that could still be allocated on the GPU, or on the host for a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def clocks(device: torch.device) -> dict[str, float]:
    """Return how fast the device runs now: MHz and the most it can do, and a GPU's watts and degrees Celsius.

    Empty where the system does not tell.
    """
    if device.type == "cuda":
        names = ("clocks.sm", "clocks.max.sm", "power.draw", "temperature.gpu")
        asked = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
            values = [float(value) for value in said.splitlines()[device.index or 0].split(",")]
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return {}
        return dict(zip(("mhz", "most_mhz", "watts", "celsius"), values, strict=True))
    found = psutil.cpu_freq()
    return {"mhz": round(found.current), "most_mhz": round(found.max)} if found and found.current else {}


def _installed(library: str) -> bool:
    try:
        return bool(version(library))
    except PackageNotFoundError:
        return False


def _settings(device: torch.device) -> dict[str, Any]:
    """Return the clock, and torch's own defaults, which nothing here changes."""
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
        + ", ".join(kernel for kernel, allowed in kernels.items() if allowed),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
    }
