"""What of the machine and the environment decides a sample's bytes."""

import os
from importlib.metadata import version
from typing import Any

from jobs.base.errors import BadInput
from jobs.base.machine import processor_name
from jobs.options.schema import Options

# Variables by which oneDNN and MKL choose other kernels of a processor; torch's own are in what it calls capability.
_CPU_KERNELS = (
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"),
)


def check_attention_backend() -> None:
    """Refuse an attention backend that the environment asks for and that cannot be used here.

    Raises:
        BadInput: names the variable and the reason.
    """
    asked = os.environ.get("DIFFUSERS_ATTN_BACKEND")
    if asked is None:
        return
    try:
        from jobs.parallel.diffusers_private import require_attention_backend

        require_attention_backend()
    except (ValueError, RuntimeError, ImportError) as error:  # an unknown name fails the import
        reason = str(error.__cause__ or error).splitlines()[0]
        raise BadInput(f"DIFFUSERS_ATTN_BACKEND={asked} cannot be used ({reason}): unset it, or set another") from None


def environment(options: Options, device: str) -> dict[str, Any]:
    """Return what decides bytes beside a run's identity and the libraries' versions; the same fields everywhere.

    Args:
        options: of the run.
        device: torch device of this process.
    """
    import torch

    from jobs.parallel.diffusers_private import attention_backend  # imports diffusers

    gpu = device.startswith("cuda")
    cudnn: Any = torch.backends.cudnn  # typed less than it is
    return {
        "device": "cuda" if gpu else "cpu",
        "name": torch.cuda.get_device_name(device) if gpu else processor_name(),
        "capability": _capability(device),
        "cuda": torch.version.cuda or "",
        "cudnn": str(cudnn.version() or ""),
        "attention": attention_backend() + (" without padding" if options.model.drop_padding else ""),
        "matmul": torch.backends.cuda.matmul.fp32_precision if gpu else "",
        "convolution": cudnn.conv.fp32_precision if gpu else "",
        "tf32_override": os.environ.get("NVIDIA_TF32_OVERRIDE", "") if gpu else "",
        "compile": options.model.compile,
        "offload": options.model.offload,
        "cpu_threads": options.cpu_threads,
        "parallel": " ".join(f"{name}={ranks}" for name, ranks in options.parallel.shared.items()),
    }


def _capability(device: str) -> str:
    import torch

    if not device.startswith("cuda"):
        chosen = [f"{name}={value}" for name in _CPU_KERNELS if (value := os.environ.get(name))]
        return " ".join([torch.backends.cpu.get_cpu_capability(), *chosen])
    major, minor = torch.cuda.get_device_capability(device)
    return f"{major}.{minor}"


def versions(makes_clips: bool) -> dict[str, str]:
    """Return the versions of the libraries that decide a sample's bytes; the same fields for images and clips."""
    names = ("torch", "diffusers", "transformers", "numpy", "pillow", "ftfy")
    found = {name: version(name) for name in names}
    ffmpeg = ""
    if makes_clips:
        import imageio_ffmpeg

        ffmpeg = imageio_ffmpeg.get_ffmpeg_version()
    return {**found, "ffmpeg": ffmpeg}
