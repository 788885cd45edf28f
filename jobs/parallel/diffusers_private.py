"""What diffusers does not offer openly.

The parts that ``enable_parallelism`` puts together by itself: that method asks how many accelerators the machine has,
and so divides by zero on a CPU; and the plan of a model that diffusers has none for is written in these classes. And
the attention backend in use, which is set by ``DIFFUSERS_ATTN_BACKEND`` and told nowhere.
"""

import inspect
import re

from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput, ParallelConfig
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _AttentionBackendRegistry,
    _check_attention_backend_requirements,
)

__all__ = [
    "ContextParallelInput",
    "ContextParallelOutput",
    "ParallelConfig",
    "attention_backend",
    "attention_backends",
    "refuses_masks",
    "require_attention_backend",
]


def attention_backend() -> str:
    """Return the name of the attention backend that this process uses where a model sets none of its own."""
    return str(_AttentionBackendRegistry._active_backend.value)


def attention_backends() -> list[str]:
    """Return the names of the attention backends that diffusers knows."""
    return [name.value for name in AttentionBackendName]


def require_attention_backend(name: str | None = None) -> None:
    """Raise a RuntimeError that says why, where a backend cannot be used here.

    Args:
        name: of the backend; None: the one that this process uses.
    """
    _check_attention_backend_requirements(AttentionBackendName(name or attention_backend()))


def refuses_masks(name: str) -> bool:
    """Return whether a backend's function raises where it is given an attention mask, which only its code says."""
    function = _AttentionBackendRegistry._backends[AttentionBackendName(name)]
    return bool(re.search(r"if attn_mask is not None:\s+raise", inspect.getsource(function)))
