"""Keeps torch's compiler, and what it brings along, out of processes that compile nothing."""

import sys
import threading
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
# What libraries have it do to functions of theirs while they are imported. What is not compiled never heeds it.
_MARKS = ("allow_in_graph", "assume_constant_result", "disable")
_reading = threading.RLock()


class _Frames:
    """Its ``eval_frame``, of which libraries ask whether a model is compiled: none is before the package is read."""

    class OptimizedModule:
        """What compiled models are."""

    def __getattr__(self, name: str) -> Any:
        package = sys.modules[COMPILER]
        with _reading:
            if isinstance(package, Unread):
                package.read()
        return getattr(package.eval_frame, name)


_frames = _Frames()


class Unread(ModuleType):
    """The compiler's package, whose code is not run before anything but a mark is asked of it."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that is not there yet; meanwhile other threads wait for the code that makes it."""
        missing = AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name.startswith("__"):
            raise missing
        with _reading:
            if type(self) is Unread:
                if "_begun" in vars(self):  # its own code asks, which is still at it
                    raise missing
                if name in _MARKS:
                    return _unmarked
                if name == "eval_frame":
                    return _frames
                self.read()
        return getattr(self, name)

    def read(self) -> None:
        """Run its code, for one thread at a time: then it is the package that it would have been."""
        self._begun = True
        assert self.__spec__ and self.__spec__.loader
        self.__spec__.loader.exec_module(self)
        self.__class__ = ModuleType  # type: ignore[assignment]


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """Be a decorator that changes nothing, with arguments or without."""
    return _unmarked if function is None else function


def leave_compiler_unread() -> None:
    """Have the imports that follow run torch's compiler's code only if they need it.

    diffusers and transformers import it to mark functions for it, which takes half as long as torch itself. Where it is
    needed after all it is there, but knows nothing of these marks: so this is for processes that compile no model.
    And no thread may import a module of the package itself while another one has its code run: neither would come back.
    Ours do not, as a second batch begins to denoise only after a first one has, and ranks meet before anything else.
    """
    if COMPILER in sys.modules:
        return
    spec = find_spec(COMPILER)
    assert spec
    package = module_from_spec(spec)
    package.__class__ = Unread
    sys.modules[COMPILER] = package
