"""Where a pipeline call is done with denoising: from its decoding on, the next call may begin in another thread."""

import ast
import functools
import inspect
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobs.options.model import ModelOptions

# What calls of a pipeline may use of it from their decoding on, while another one denoises.
AFTERWARDS = {
    *("vae", "audio_vae", "vocoder", "decode_latents", "image_processor", "video_processor", "numpy_to_pil"),
    *("safety_checker", "run_safety_checker", "watermark", "maybe_free_model_hooks"),
}


class Handover:
    """Tells whoever listens when a call of a pipeline in the same thread begins to decode.

    Args:
        pipeline: a diffusers pipeline for which ``decodes_apart`` holds.
    """

    def __init__(self, pipeline: Any):
        self._vae, self._decode = pipeline.vae, pipeline.vae.decode
        self._thread = threading.local()
        self._stream: Any = None

        @functools.wraps(self._decode)
        def decode(*args: Any, **kwargs: Any) -> Any:
            if listener := getattr(self._thread, "listener", None):
                self._thread.listener = None  # the first time only: some decode frame by frame
                if self._thread.apart:
                    self._enter_stream((args, kwargs))
                listener()
            return self._decode(*args, **kwargs)

        self._vae.decode = decode

    @contextmanager
    def listening(self, denoised: Callable[[], None], *, apart: bool) -> Iterator[None]:
        """Have ``denoised`` called, in this thread, before the call within decodes.

        Args:
            denoised: takes part in the call: an exception of it is one of the call.
            apart: whether what the thread gives a GPU from there on goes into a stream of its own, to be computed
                beside another call's denoising. Whoever wants it on the host has to wait for the current stream.
        """
        self._thread.listener, self._thread.apart, self._thread.before = denoised, apart, None
        try:
            yield
        finally:
            self._thread.listener = None
            if self._thread.before is not None:
                import torch

                torch.cuda.set_stream(self._thread.before)

    def _enter_stream(self, given: Any) -> None:
        import torch
        from torch.utils import _pytree as pytree

        tensors = [one for one in pytree.tree_leaves(given) if isinstance(one, torch.Tensor) and one.is_cuda]
        if not tensors:
            return
        before = torch.cuda.current_stream(tensors[0].device)
        cuda: Any = torch.cuda  # not all of it is typed
        self._stream = self._stream or cuda.Stream(tensors[0].device)
        self._stream.wait_stream(before)
        for tensor in tensors:
            tensor.record_stream(self._stream)  # or its memory would be the next call's as soon as it is let go of
        torch.cuda.set_stream(self._stream)
        self._thread.before = before


def decodes_apart(pipeline: Any, model: ModelOptions) -> bool:
    """Return whether one call of a pipeline may decode while another one denoises.

    Not where parts move between main memory and a GPU, where captured graphs belong to one thread, where the pipeline
    widens its autoencoder for the time of decoding, and where a call has more to do with the denoiser once it decodes:
    further steps, or to put its attention back, as those with perturbed attention guidance do.
    """
    vae: Any = getattr(pipeline, "vae", None)
    if model.offload != "none" or model.compile == "max-autotune" or not callable(getattr(vae, "decode", None)):
        return False
    widened = str(getattr(vae, "dtype", "")) == "torch.float16" and getattr(vae.config, "force_upcast", False)
    kind: Any = type(pipeline)
    return not widened and _decodes_last(kind)


@functools.cache
def _decodes_last(kind: Any) -> bool:
    """Return whether calls of a pipeline decode after all their steps, and use nothing of these from there on."""
    try:
        call = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(vars(kind)["__call__"]))))
    except (KeyError, OSError, TypeError):  # an heir's, or one without a source
        return False
    loops = [node for node in ast.walk(call) if isinstance(node, ast.For | ast.While) and _lines_of(node, "step")]
    decoding = min(_lines_of(call, "vae.decode", "decode_latents"), default=0)  # as pipelines begin to decode
    last = max((node.end_lineno or 0 for node in loops), default=decoding)
    return last < decoding and _used_from(decoding, call) <= AFTERWARDS


def _used_from(line: int, call: ast.AST) -> set[str]:
    """Return what of ``self`` a method uses from a line on; "self" where it hands that itself to somebody."""
    nodes = [node for node in ast.walk(call) if getattr(node, "lineno", 0) >= line]
    named = [node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"]
    bare = {node for node in nodes if isinstance(node, ast.Name) and node.id == "self"} - {one.value for one in named}
    return {one.attr for one in named} | ({"self"} if bare else set())


def _lines_of(node: ast.AST, *names: str) -> list[int]:
    """Return the lines in which something of these names is called."""
    endings = tuple(f".{name}" for name in names)
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    return [one.lineno for one in calls if ast.unparse(one.func).endswith(endings)]
