"""Runs each of a network's like blocks once: what is the same in class, weights and inputs takes the same work.

Of the 57 blocks of a FLUX, two are run; of the hundreds of tiles and frames that an autoencoder decodes, a handful.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from jobs.rehearse.counting import Counter, Work

_PLAIN = (int, float, str, bool, type(None), torch.dtype, torch.device)
_UNLIKE = object()


@dataclass(frozen=True)
class _Seen:
    """What a block did.

    Attributes:
        work: counted.
        output: leaves and structure of what it returned.
        lists: of each list that it was given, leaves and structure afterwards: some blocks keep their state there.
    """

    work: Work
    output: tuple[list[Any], Any]
    lists: list[tuple[list[Any], Any]]


@dataclass(frozen=True)
class _Same:
    """A leaf that is an input, handed on."""

    number: int


@dataclass(frozen=True)
class _New:
    """A leaf that was made."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def run_repeats_once(network: torch.nn.Module, counter: Counter) -> None:
    """Have a network's blocks, and its decoder where it has one, answer what they have met before without running.

    Args:
        network: any network on the meta device; its blocks are what stands in lists of modules.
        counter: counts the work, also that which is not run again.
    """
    seen: dict[Any, _Seen] = {}
    blocks = [
        block for one in network.modules() if isinstance(one, torch.nn.ModuleList) for block in one if block is not None
    ]
    decoder = getattr(network, "decoder", None)
    for block in dict.fromkeys([*blocks, *([decoder] if isinstance(decoder, torch.nn.Module) else [])]):
        block.forward = _remembering(block, block.forward, counter, seen)


def _remembering(
    block: torch.nn.Module, call: Callable[..., Any], counter: Counter, seen: dict[Any, _Seen]
) -> Callable[..., Any]:
    weights = (type(block), str(block), *((one.shape, one.dtype) for one in block.parameters()))

    def answered(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree_flatten((args, kwargs))
        lists = [one for one in (*args, *kwargs.values()) if isinstance(one, list)]
        key = (weights, structure, *map(_likeness, leaves))
        if _UNLIKE in key:
            return call(*args, **kwargs)
        if key not in seen:
            given = [weakref.ref(one) if isinstance(one, torch.Tensor) else None for one in leaves]
            leaves.clear()  # what the block lets go of while it runs shall be freed
            with counter.part() as result:
                output = call(*args, **kwargs)
            seen[key] = _Seen(result[0], _kept(output, given), [_kept(one, given) for one in lists])
            return output
        known = seen[key]
        counter.add(known.work)

        def again(after: tuple[list[Any], Any]) -> Any:
            return tree_unflatten([_leaf(one, leaves, counter) for one in after[0]], after[1])

        for one, after in zip(lists, known.lists, strict=True):
            one[:] = again(after)
        return again(known.output)

    return answered


def _likeness(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return leaf.shape, leaf.dtype, leaf.device
    return leaf if isinstance(leaf, _PLAIN) else _UNLIKE


def _kept(value: Any, given: list[Any]) -> tuple[list[Any], Any]:
    leaves, structure = tree_flatten(value)
    numbers = {id(one): number for number, ref in enumerate(given) if ref and (one := ref()) is not None}

    def kept(leaf: Any) -> Any:
        if id(leaf) in numbers:
            return _Same(numbers[id(leaf)])
        return _New(tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf

    return [kept(one) for one in leaves], structure


def _leaf(kept: Any, inputs: list[Any], counter: Counter) -> Any:
    if isinstance(kept, _Same):
        return inputs[kept.number]
    return counter.new(kept.shape, kept.dtype) if isinstance(kept, _New) else kept
