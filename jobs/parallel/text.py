"""Has rank 0 encode prompts for all ranks, so that no other one needs text encoders."""

import json
from typing import Any

import torch
import torch.distributed as dist

from jobs.base.checkpoint_json import text_encoders

_HEADER = 4096  # bytes that say what follows


class SharedText:
    """Replaces ``encode_prompt`` of a pipeline: rank 0 encodes, and broadcasts give the others the same bits.

    An error of rank 0's becomes one of all ranks, so that none is left waiting for a prompt that cannot be encoded.

    Args:
        pipeline: one whose ``encode_prompt`` returns tensors and Nones; all ranks call it alike.
        rank: this process's; any but rank 0 lets go of its text encoders.
        device: torch device of this rank.
    """

    def __init__(self, pipeline: Any, rank: int, device: str):
        self._encode, self._device = pipeline.encode_prompt, device
        if rank:
            for name in text_encoders(pipeline.components):
                setattr(pipeline, name, None)
        pipeline.encode_prompt = self._hear if rank else self._tell

    def _tell(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor | None, ...]:
        try:
            encoded = tuple(self._encode(*args, **kwargs))
            said: Any = [one if one is None else [str(one.dtype).removeprefix("torch."), *one.shape] for one in encoded]
        except Exception as error:
            self._header(f"{type(error).__name__}: {error}"[: _HEADER // 8])
            raise
        self._header(said)
        for one in encoded:
            if one is not None:
                dist.broadcast(_bytes(one.to(self._device).contiguous()), 0)
        return encoded

    def _hear(self, *_: Any, **__: Any) -> tuple[torch.Tensor | None, ...]:
        said = self._header(None)
        if isinstance(said, str):
            raise RuntimeError(f"rank 0 could not encode the prompts: {said}")
        encoded = []
        for one in said:
            if one is not None:
                dtype, *shape = one
                one = torch.empty(shape, dtype=getattr(torch, dtype), device=self._device)
                dist.broadcast(_bytes(one), 0)
            encoded.append(one)
        return tuple(encoded)

    def _header(self, said: Any) -> Any:
        """Return what rank 0 says, as JSON of a fixed length; the others give None."""
        text = json.dumps(said).encode().ljust(_HEADER)
        header = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(self._device)
        dist.broadcast(header, 0)
        return json.loads(bytes(header.tolist()))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same memory as bytes, which every backend sends whatever they mean."""
    return tensor.view(-1).view(torch.uint8)
