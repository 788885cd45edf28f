"""What diffusers does not offer openly.

The parts that ``enable_parallelism`` puts together by itself: that method asks how many accelerators the machine has,
and so divides by zero on a CPU; and the plan of a model that diffusers has none for is written in these classes. And
the attention backend in use, which is set by ``DIFFUSERS_ATTN_BACKEND`` and told nowhere.
"""

from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput, ParallelConfig
from diffusers.models.attention_dispatch import _AttentionBackendRegistry, _check_attention_backend_requirements

__all__ = [
    "ContextParallelInput",
    "ContextParallelOutput",
    "ParallelConfig",
    "attention_backend",
    "require_attention_backend",
]


def attention_backend() -> str:
    """Return the name of the attention backend that this process uses where a model sets none of its own."""
    return str(_AttentionBackendRegistry._active_backend.value)


def require_attention_backend() -> None:
    """Raise a RuntimeError that says why, where that backend cannot be used here."""
    _check_attention_backend_requirements(_AttentionBackendRegistry._active_backend)
