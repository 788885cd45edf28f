"""The loop of a pipeline over its steps: where it ends, also before the last step, an error or an interruption."""

import functools
import types
from collections.abc import Callable
from typing import Any

_METHOD = "progress_bar"


class Loop:
    """A listener to one pipeline, whose loop is inside of its progress bar (`with self.progress_bar(...)`).

    A pipeline whose loop is not tells nothing, and what was under way ends with its next `set_timesteps`.

    Args:
        pipe: The pipeline. The method is patched on the instance.
        on_end: Called when the loop was left, in whatever way.
    """

    def __init__(self, pipe: Any, on_end: Callable[[], None]) -> None:
        self._pipe = pipe
        original = getattr(type(pipe), _METHOD, None)
        if original is None or _METHOD in vars(pipe):
            return

        @functools.wraps(original)
        def watched(pipe: Any, *args: Any, **kwargs: Any) -> Any:
            bar = original(pipe, *args, **kwargs)
            return _telling(bar, on_end) if pipe is self._pipe else bar  # not of a copy of the pipeline

        watched.spectrum_loop = self  # type: ignore[attr-defined]
        setattr(pipe, _METHOD, types.MethodType(watched, pipe))

    def stop(self) -> None:
        """Take the patch off again."""
        if getattr(vars(self._pipe).get(_METHOD), "spectrum_loop", None) is self:
            delattr(self._pipe, _METHOD)


def _telling(bar: Any, on_end: Callable[[], None]) -> Any:
    """Have a progress bar tell when its `with` is left; not its `close`, which garbage collection may call."""
    kind = type(bar)

    def leave(self: Any, *error: Any) -> Any:
        on_end()
        return kind.__exit__(self, *error)

    bar.__class__ = type(kind.__name__, (kind,), {"__exit__": leave})
    return bar
