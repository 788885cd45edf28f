"""How torch marks a module that it compiled as a whole: no public attribute or function tells."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def is_compiled(module: "nn.Module") -> bool:
    """Return whether calls of the module run compiled code, in which hooks and emptied stacks are not heard.

    Blocks that were compiled one by one (`compile_repeated_blocks`) do not count.
    """
    # `torch.compile(module)` returns another module that keeps the original as `_orig_mod`; `module.compile()`
    # changes the module in place and keeps the compiled call as `_compiled_call_impl`, which is None before.
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
