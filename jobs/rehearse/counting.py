"""Counts what a network does with tensors that have no memory (torch's meta device): the code that runs, at any size.

A tensor of the meta device has shape and dtype and no contents, so whatever reads a number back from the device has to
come here for it: a host synchronisation cannot hide.
"""

import math
import traceback
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

# Named as private by PyTorch, and without a public twin: they see each operation as the dispatcher does.
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

META = torch.device("meta")


@dataclass(frozen=True)
class Work:
    """What some calls of networks did.

    Attributes:
        operations: that were dispatched to the device.
        flops: of matrix products, convolutions and attention; two for each multiplication with its addition.
        peak: bytes that were in use at once on the device, beside weights and what was kept from before.
        copies: tensors that were brought over from main memory.
        waits: where the host waited for a number from the device, as ``file:line``.
    """

    operations: int = 0
    flops: int = 0
    peak: int = 0
    copies: int = 0
    waits: tuple[str, ...] = ()

    def __add__(self, other: "Work") -> "Work":
        """Return both, one after the other."""
        return Work(
            self.operations + other.operations,
            self.flops + other.flops,
            max(self.peak, other.peak),
            self.copies + other.copies,
            self.waits + other.waits,
        )


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that run inside of it. What they keep stays counted from one time to the next.

    Args:
        weights: tensors that are there all the time, and not to be counted.

    Attributes:
        live: bytes of meta tensors that were made here and still exist.
    """

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        # Of all storages that are known, by their address: None for those of weights.
        self._storages: dict[int, Any] = {one.untyped_storage()._cdata: None for one in weights}
        self._done = Work()
        self._peak = 0

    @contextmanager
    def work(self) -> Iterator[list[Work]]:
        """Count what runs within; the list holds the result afterwards."""
        with torch.no_grad(), self, _Attention(self), self.part() as result:
            yield result

    @contextmanager
    def part(self) -> Iterator[list[Work]]:
        """Count what runs within as a part of the work that is being counted."""
        before, self._done = self._done, Work()
        begun, peak, self._peak = self.live, self._peak, self.live
        result = list[Work]()
        yield result
        result.append(replace(self._done, peak=self._peak - begun))
        self._done, self._peak = before + self._done, max(peak, self._peak)

    def add(self, work: Work) -> None:
        """Count work that is not run."""
        self._peak = max(self._peak, self.live + work.peak)
        self._done += replace(work, peak=0)

    def new(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor that some added work made: its memory is counted from now on."""
        before = self._done, self._peak
        made = torch.empty(shape, dtype=dtype, device=META)
        self._done, self._peak = before
        return made

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operator is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            self.add(Work(waits=(_place(),)))
            return torch.zeros((), dtype=args[0].dtype).item()  # of a question about a mask: no, it is not without gaps
        result = operator(*args, **(kwargs or {}))
        made = [one for one in tree_leaves(result) if isinstance(one, torch.Tensor) and one.is_meta]
        if made or any(isinstance(one, torch.Tensor) and one.is_meta for one in tree_leaves(args)):
            fetched = operator in _COPIES and not args[_COPIES.index(operator)].is_meta
            count = flop_registry.get(operator._overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=result) if count else 0
            self.add(Work(1, flops, copies=int(fetched)))
            for one in made:
                self._hold(one.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return

        def gone(_: Any) -> None:
            del self._storages[key]
            self.live -= size

        self._storages[key] = weakref.ref(storage, gone)
        self.live += size
        self._peak = max(self._peak, self.live)


_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)  # each at the place of its source


class _Attention(torch.overrides.TorchFunctionMode):
    """Attention as fused kernels do it, whose matrix of scores is never in memory."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not torch.nn.functional.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        query, key, value = (*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :]))[:3]
        flops = 2 * math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        self._counter.add(Work(flops=flops))
        return query.new_empty(*query.shape[:-1], value.shape[-1])


def _place() -> str:
    """Return the line outside of torch that is being run."""
    frames = [one for one in traceback.extract_stack() if "/torch/" not in one.filename and one.filename != __file__]
    return f"{frames[-1].filename.rpartition('site-packages/')[2]}:{frames[-1].lineno}"
