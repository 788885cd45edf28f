"""What a pipeline gets from a module that Spectrum answers for, and what PyTorch does in each such call."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from spectrum import History


@dataclass
class Call:
    """One call, as the pipeline sees it.

    Attributes:
        ran: The module itself was called.
        operations: What PyTorch did, but for the module itself and the sums over histories.
        output: What the call returned.
        tensors: Copies of the tensors in that.
    """

    ran: bool = False
    operations: int = 0
    output: Any = None
    tensors: list[torch.Tensor] = field(default_factory=list)


class _Counter(TorchDispatchMode):
    count = 0
    paused = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not self.paused
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def listening(module: nn.Module) -> Iterator[list[Call]]:
    """Note each call of a module whose calls are intercepted."""
    calls: list[Call] = []
    counter = _Counter()
    interception: Any = vars(module)["_compiled_call_impl"]
    answer, forecast = interception._around, History.forecast

    def heard(call: Any, args: Any, kwargs: Any) -> Any:
        calls.append(Call())

        def run(*args: Any, **kwargs: Any) -> Any:
            calls[-1].ran = True
            with _disable_current_modes():  # which compiled code would be compiled anew for
                return call(*args, **kwargs)

        counter.count = 0
        with counter:
            output = answer(run, args, kwargs)
        calls[-1].operations, calls[-1].output = counter.count, output
        calls[-1].tensors = [leaf.clone() for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        return output

    def uncounted(history: History, coefficients: Any) -> torch.Tensor:
        counter.paused = True
        made = forecast(history, coefficients)
        counter.paused = False
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "forecast", uncounted)
        patch.setattr(interception, "_around", heard)
        yield calls
