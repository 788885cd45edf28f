"""The text stage: what a pipeline's encoders made of texts, kept and given out again as often as it is asked for.

Repeats of a prompt, prompts whose batches differ in guidance or steps only, and the negative prompts of pipelines that
encode these apart are so encoded once. Texts are encoded in the groups in which the pipeline asks for them, since in
others last bits differ (docs/log.md). Where memory is short the encoders leave the GPU: then the texts of a shard are
encoded ahead.
"""

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jobs.base.checkpoint_json import text_encoders

KEPT = 1 << 30  # bytes in main memory, within what a task asks for (jobs.execute.asks)
FULL = 0.9  # of that: what is encoded ahead beyond would take the place of what is needed first
_PLAIN = (str, int, float, bool, type(None))  # of arguments that say all there is to know


class Embeddings:
    """Answers ``encode_prompt`` of a pipeline, and asks the encoders for nothing twice.

    Args:
        pipeline: a diffusers pipeline that has this method.
        most: bytes that are kept; what was used longest ago goes first.

    Attributes:
        encoded: calls that the encoders answered.
    """

    def __init__(self, pipeline: Any, most: int = KEPT):
        self._pipeline, self._encode, self._most = pipeline, pipeline.encode_prompt, most
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self._bytes = 0
        self._device: Any = None  # where encoders compute that are in main memory otherwise
        self.encoded = 0

        @functools.wraps(self._encode)  # pipelines look at what it takes
        def answer(*args: Any, **kwargs: Any) -> Any:
            return self._answer(args, kwargs)

        pipeline.encode_prompt = answer

    @classmethod
    def of(cls, pipeline: Any) -> "Embeddings | None":
        """Return those of a pipeline; None for one that encodes in another way."""
        return cls(pipeline) if callable(getattr(pipeline, "encode_prompt", None)) else None

    def _answer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            # What of the pipeline itself such methods look at.
            guided = getattr(self._pipeline, "do_classifier_free_guidance", None)
            key = _key([guided, args, kwargs])
        except TypeError:  # tensors or the like among them
            return self._made(args, kwargs)
        if kept := self._kept.get(key):
            self._kept.move_to_end(key)
            return kept.out()
        result = self._made(args, kwargs)
        try:
            kept = _Kept(result)
        except TypeError:
            return result
        if kept.bytes <= self._most:
            self._kept[key] = kept
            self._bytes += kept.bytes
            while self._bytes > self._most:
                self._bytes -= self._kept.popitem(last=False)[1].bytes
        return result

    def _made(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.encoded += 1
        with self._at_hand():
            return self._encode(*args, **kwargs)

    def release(self, device: str) -> bool:
        """Keep the encoders in main memory from now on, but while they encode; return whether that makes room.

        Args:
            device: torch device that the pipeline is on.
        """
        import torch

        there = torch.device(device)
        if self._device is not None or there.type == "cpu" or not self._encoders:
            return False
        moved = []
        with contextlib.suppress(RuntimeError, ValueError):  # of quantised ones
            for part in self._encoders:
                part.to("cpu")
                moved.append(part)
            if self._pipeline._execution_device.type == there.type:  # it asks its parts, and not these first
                self._device = there
                return True
        for part in moved:
            part.to(there)
        return False

    def ahead(self, calls: Iterable[Callable[[], Any]]) -> None:
        """Encode the texts of pipeline calls, which end where they would make latents, and keep what there is room for.

        What fails here will fail in the call itself, where somebody is told.
        """
        if not hasattr(self._pipeline, "prepare_latents"):
            return
        self._pipeline.prepare_latents = _stop
        try:
            with self._at_hand():
                for call in calls:
                    with contextlib.suppress(Exception):
                        call()
                    if self._bytes > FULL * self._most:
                        break
        finally:
            del self._pipeline.prepare_latents

    @property
    def _encoders(self) -> list[Any]:
        parts = self._pipeline.components
        return [parts[name] for name in text_encoders(parts) if parts[name] is not None]

    def _move(self, device: Any) -> None:
        for part in self._encoders:
            part.to(device)

    @contextlib.contextmanager
    def _at_hand(self) -> Iterator[None]:
        device, self._device = self._device, None  # those within have them
        try:
            if device is not None:
                self._move(device)
            yield
        finally:
            if device is not None:
                self._move("cpu")
                self._device = device


def _key(value: Any) -> Any:
    """Return arguments as something that can be looked up.

    Raises:
        TypeError: they say more than can be compared.
    """
    import torch

    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_key, value))
    if isinstance(value, dict):
        return tuple((name, _key(value[name])) for name in sorted(value))
    if isinstance(value, torch.device | torch.dtype):
        return str(value)
    if isinstance(value, _PLAIN):
        return (type(value).__name__, value)  # for 1 == 1.0 == True
    raise TypeError(type(value).__name__)


class _Encoded(Exception):
    """All texts of a call are encoded."""


def _stop(*args: Any, **kwargs: Any) -> None:
    raise _Encoded


class _Kept:
    """A copy of what encoders made, in main memory."""

    def __init__(self, result: Any):
        import torch
        from torch.utils import _pytree as pytree

        leaves, self._structure = pytree.tree_flatten(result)
        if not all(isinstance(one, (torch.Tensor, *_PLAIN)) for one in leaves):
            raise TypeError("encoders made more than tensors")
        self._leaves = [(_copy(one, "cpu"), one.device) if isinstance(one, torch.Tensor) else one for one in leaves]
        self.bytes = sum(one[0].nbytes for one in self._leaves if isinstance(one, tuple))

    def out(self) -> Any:
        """Return a copy for a pipeline to do with as it likes, where the result was."""
        from torch.utils import _pytree as pytree

        leaves = [_copy(*one) if isinstance(one, tuple) else one for one in self._leaves]
        return pytree.tree_unflatten(leaves, self._structure)


def _copy(tensor: Any, device: Any) -> Any:
    """Copy a tensor to a device, with its strides, on which the order of sums may depend; pinned beside a GPU."""
    import torch

    pinned = tensor.device.type == "cuda" and str(device) == "cpu"
    dense = all(stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    strides = tensor.stride() if dense else tensor.contiguous().stride()
    made = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=device, pin_memory=pinned)
    # Back from pinned memory the copy is in the order of the stream, so nobody needs to wait for it.
    return made.copy_(tensor, non_blocking=tensor.is_pinned())
