"""Counts what one rank does in a denoising step: the real denoiser and its real plan, without memory or other ranks.

The tensors are on the meta device and the process group is torch's fake one, whose collectives do nothing. So the
numbers are those of the code that runs, at any size and any degrees, on any machine.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from jobs.options.degrees import Degrees
from jobs.parallel.denoiser import make_mesh, share_denoiser
from spectrum import History
from spectrum.denoisers import spec_of
from spectrum.stacks import empty_stacks, heads_of
from tools.benchmarks.common.denoisers import Model, Size, build, call_arguments
from tools.benchmarks.common.device import synchronize
from tools.benchmarks.parallel.cost import Message, Step

META = torch.device("meta")
_KINDS = {"all_to_all_single": "exchange", "all_gather_into_tensor": "gather", "allgather_": "gather"}


class Recorder(TorchDispatchMode):
    """See the operations that run within the context.

    Args:
        device: Whose work is waited for around each collective, to time it; None: collectives are not timed.

    Attributes:
        ops, traffic: Operations but for views and collectives, and the bytes of the tensors they read and write.
        seconds: Spent in collectives, waiting for the others included.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self.ops = self.traffic = 0
        self.seconds = 0.0
        self._device = device
        self._messages: Counter[tuple[str, int, tuple[int, ...]]] = Counter()

    @property
    def messages(self) -> tuple[Message, ...]:
        """The collectives."""
        return tuple(Message(*message, count) for message, count in sorted(self._messages.items()))

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        run = lambda: operator(*args, **(kwargs or {}))  # noqa: E731
        space, _, rest = str(operator).partition(".")
        kind = _KINDS.get(rest.partition(".")[0])
        if kind and space in ("_c10d_functional", "c10d"):
            self._messages[(kind, *_who_and_how_much(kind, args))] += 1
            return self._timed(run) if self._device else run()
        result = run()
        if space == "aten" and not operator.is_view and "empty" not in rest:
            self.ops += 1
            self.traffic += sum(map(_bytes, _tensors((args, kwargs, result))))
        return result

    def _timed(self, run: Any) -> Any:
        assert self._device
        synchronize(self._device)
        start = time.perf_counter()
        result = run()
        if isinstance(result, torch.Tensor):
            torch.ops._c10d_functional.wait_tensor(result)
        else:
            result[1].wait()
        synchronize(self._device)
        self.seconds += time.perf_counter() - start
        return result


def count_step(model: Model, size: Size, degrees: Degrees, dtype: torch.dtype, rows: int | None) -> Step:
    """Count what rank 0 of ``degrees`` does in one step of a pipeline.

    Args:
        model: One of ``common.catalog``.
        size: Its config and the pipeline's call.
        degrees: How the sample is shared.
        dtype: Dtype of the denoiser.
        rows: None for an evaluated step, or the number of features that a forecast step sums.
    """
    arguments = call_arguments(model, size, META, dtype)
    with _fake_ranks(degrees.size), torch.no_grad():
        denoiser = build(model, size, META, dtype).transformer
        if degrees.sequence > 1:
            share_denoiser(denoiser, degrees, make_mesh(degrees, "cpu"))
        inputs = _inputs(size, arguments, dtype)
        ops = traffic = 0
        if rows is not None:
            ops, traffic = _forecast(denoiser, size, degrees, dtype, rows)
        with FlopCounterMode(display=False) as counter, Recorder() as seen:
            output = denoiser(**inputs)[0]
    if rows is not None:
        ops, traffic = ops + seen.ops, traffic + seen.traffic
    calls = branches(arguments) // degrees.cfg
    messages = [Message(one.kind, one.peer_bytes, one.ranks, one.count * calls) for one in seen.messages]
    if degrees.cfg > 1:
        messages.append(Message("gather", output.nbytes, (0, degrees.sequence)))
    return Step(counter.get_total_flops() * calls, traffic * calls, ops * calls, tuple(messages))


def branches(arguments: dict[str, Any]) -> int:
    """Return how often a step of the pipeline calls the denoiser."""
    return 2 if "negative_prompt_embeds" in arguments else 1


def _forecast(denoiser: Any, size: Size, degrees: Degrees, dtype: torch.dtype, rows: int) -> tuple[int, int]:
    """Make the denoiser's calls forecasts; return operations and bytes of the sum over the history.

    The bytes are those of the rows and of the sum: what is added to meanwhile stays in cache.
    """
    spec = spec_of(denoiser)
    batch, tokens, width = size.feature
    shape = (batch, tokens // degrees.sequence, width)
    history = History(rows, dtype)
    feature = torch.empty(shape, dtype=torch.float32 if spec.head_upcasts else dtype, device=META)
    for row in range(rows):
        history.store(row, feature)
    with Recorder() as sums:
        history.forecast([1.0] * rows)
    for name, empty in empty_stacks(denoiser, spec).items():
        setattr(denoiser, name, empty)
    ((_, head),) = heads_of(denoiser, spec)
    head.register_forward_pre_hook(lambda module, args: (feature, *args[1:]))
    return sums.ops, history.nbytes + feature.nbytes


def _inputs(size: Size, arguments: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return what the pipeline calls the denoiser with."""
    call = size.call
    frames = (call["num_frames"] - 1) // 4 + 1
    shape = (1, size.config["in_channels"], frames, call["height"] // 8, call["width"] // 8)
    made = {
        "hidden_states": torch.empty(shape, dtype=dtype, device=META),
        "timestep": torch.empty(1, dtype=torch.int64, device=META),
        "encoder_hidden_states": arguments["prompt_embeds"],
        "return_dict": False,
    }
    if "prompt_attention_mask" in arguments:  # HunyuanVideo
        made["encoder_attention_mask"] = arguments["prompt_attention_mask"]
        made["pooled_projections"] = arguments["pooled_prompt_embeds"]
        made["guidance"] = torch.empty(1, dtype=dtype, device=META)
    return made


@contextmanager
def _fake_ranks(number: int) -> Iterator[None]:
    """Make this process rank 0 of so many that are not there."""
    import torch.distributed._tools.fake_collectives  # noqa: F401 - collectives of meta tensors
    from diffusers.models.attention_dispatch import attention_backend
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=number, store=FakeStore())
    try:
        with attention_backend("native"):  # put back: ring attention chooses another for the whole process
            yield
    finally:
        dist.destroy_process_group()


def _who_and_how_much(kind: str, args: Any) -> tuple[int, tuple[int, ...]]:
    """Return the bytes to each other rank, and the ranks."""
    if isinstance(args[0], torch.Tensor):
        tensor, group = args[0], dist.distributed_c10d._resolve_process_group(args[-1])
    else:
        tensor, group = args[1][0], dist.ProcessGroup.unbox(args[2])
    ranks = tuple(dist.get_process_group_ranks(group))
    return tensor.nbytes // (len(ranks) if kind == "exchange" else 1), ranks


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of what is in memory: an expanded tensor repeats it."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
