"""Spare the ControlNets of a pipeline their blocks on forecast steps, where nobody reads their residuals.

A ControlNet is called before the denoiser. If all calls of the step are going to be forecast, it runs its own
forward with its blocks out of the way, and what comes out is not used. A class that is not in the table runs
whole, which is slower and just as right.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from spectrum.interception import is_compiled

# What takes the place of which attribute. Without its blocks, what enters a UNet's last convolution does not fit it.
_STAND_INS: dict[str, dict[str, Callable[[], nn.Module | None]]] = {
    "ControlNetModel": {
        "down_blocks": nn.ModuleList,
        "mid_block": lambda: None,
        "controlnet_mid_block": nn.Identity,
    },
    "FluxControlNetModel": {"transformer_blocks": nn.ModuleList, "single_transformer_blocks": nn.ModuleList},
    "QwenImageControlNetModel": {"transformer_blocks": nn.ModuleList},
    "SD3ControlNetModel": {"transformer_blocks": nn.ModuleList},
}


class ControlNetHooks:
    """Spectrum's part in one ControlNet.

    Args:
        controlnet: A module whose class is in the table.
        is_unused: Asked before each of its calls: whether nothing will use what the call returns.
    """

    def __init__(self, controlnet: nn.Module, is_unused: Callable[[], bool]) -> None:
        self._controlnet = controlnet
        self._is_unused = is_unused
        self._empty = {name: make() for name, make in _STAND_INS[type(controlnet).__name__].items()}
        self._full: dict[str, nn.Module | None] = {}  # while the stand-ins are in place
        self._hooks = [
            controlnet.register_forward_pre_hook(self._before),
            controlnet.register_forward_hook(self._after, always_call=True),
        ]

    def remove(self) -> None:
        """Leave the ControlNet as it was found."""
        self._restore()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _before(self, controlnet: nn.Module, args: tuple[Any, ...]) -> None:
        # In place still, if the last call ended in what always_call leaves out: KeyboardInterrupt, SystemExit.
        self._restore()
        if self._is_unused():
            self._full = {name: getattr(controlnet, name) for name in self._empty}
            self._put(self._empty)

    def _after(self, controlnet: nn.Module, args: tuple[Any, ...], output: object) -> None:
        self._restore()

    def _restore(self) -> None:
        self._put(self._full)
        self._full = {}

    def _put(self, modules: dict[str, nn.Module | None]) -> None:
        for name, module in modules.items():
            setattr(self._controlnet, name, module)


def spared_blocks(pipe: Any, is_unused: Callable[[], bool]) -> list[ControlNetHooks]:
    """Spare the ControlNets of a pipeline that can be; several stand in a module that has them as `nets`."""
    controlnet = getattr(pipe, "controlnet", None)
    nets = getattr(controlnet, "nets", [controlnet])
    return [
        ControlNetHooks(net, is_unused) for net in nets if type(net).__name__ in _STAND_INS and not is_compiled(net)
    ]
