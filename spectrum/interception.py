"""Stand between a module and those who call it."""

from collections.abc import Callable
from typing import Any

from torch import nn

# What stands between gets the call that it replaces, and the arguments.
Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

# Private to PyTorch, and the one place that fits: `nn.Module.__call__` asks the instance for it before it looks at a
# single hook, so that none runs in a call that is answered here. `module.compile()` puts the compiled call there,
# which is called like any other; a module that `torch.compile` returns has its own. Offloading (accelerate's,
# diffusers') replaces and restores `forward`, further in. PyTorch leaves it out of a module's state, so that no copy
# carries it. A stand-in on the pipeline would hide the module from offloading, LoRA and whoever asks for its class.
_PLACE = "_compiled_call_impl"


class Interception:
    """One module's calls, answered by a function until they are released.

    Args:
        module: Any module, compiled or not. Only this instance is changed.
        around: Called in place of the module, with what calls it as it was.
    """

    def __init__(self, module: nn.Module, around: Around) -> None:
        self._module: Any = module
        self._around = around
        self._compiled = vars(module).get(_PLACE)
        setattr(module, _PLACE, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer a call of the module."""
        return self._around(self._compiled or self._module._call_impl, args, kwargs)

    @property
    def in_place(self) -> bool:
        """Whether calls still come here: not released, nor replaced by `module.compile()`."""
        return vars(self._module).get(_PLACE) is self

    def release(self) -> None:
        """Leave the module as it was found."""
        if self.in_place and self._compiled is None:
            delattr(self._module, _PLACE)
        elif self.in_place:
            setattr(self._module, _PLACE, self._compiled)


def is_intercepted(module: nn.Module) -> bool:
    """Return whether calls of the module are answered elsewhere."""
    return isinstance(vars(module).get(_PLACE), Interception)


def is_compiled(module: nn.Module) -> bool:
    """Return whether calls of the module run compiled code, in which hooks and emptied stacks are not heard.

    Blocks that were compiled one by one (`compile_repeated_blocks`) do not count.
    """
    # `torch.compile(module)` returns another module that keeps the original as `_orig_mod`; `module.compile()`
    # changes the module in place. No public attribute or function tells.
    call = vars(module).get(_PLACE)
    return hasattr(module, "_orig_mod") or (call._compiled if isinstance(call, Interception) else call) is not None
