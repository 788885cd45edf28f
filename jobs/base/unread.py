"""Keeps packages that libraries import, and that are hardly ever needed, out of a process until they are."""

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
# What libraries have the compiler do to functions of theirs while they are imported. What is not compiled never heeds
# it.
_MARKS = ("allow_in_graph", "assume_constant_result", "disable")
# What transformers imports of the compiler, which needs nothing else of it.
_ALONE = f"{COMPILER}._trace_wrapped_higher_order_op"
_reading = threading.RLock()


class Unread(ModuleType):
    """A package whose code is not run before something is asked of it.

    ``importlib.util.LazyLoader`` would run it as soon as a second module imports it.
    """

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that is not there yet; meanwhile other threads wait for the code that makes it."""
        missing = AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name.startswith("__") and name != "__all__":  # for which only ``import *`` asks
            raise missing
        with _reading:
            if isinstance(self, Unread):
                if "_begun" in vars(self):  # its own code asks, which is still at it
                    raise missing
                known = self._known(name)
                if known is not None:
                    return known
                self.read()
        return getattr(self, name)

    def _known(self, name: str) -> Any:
        """Return what can be had without its code; None for what cannot."""
        return None

    def read(self) -> None:
        """Run its code, for one thread at a time: then it is the package that it would have been."""
        self._begun = True
        assert self.__spec__ and self.__spec__.loader
        try:
            self.__spec__.loader.exec_module(self)
        finally:
            del self._begun
        self.__class__ = ModuleType  # type: ignore[assignment]


class _First(MetaPathFinder):
    """Has a package's code run before any module of it is imported, which an import would leave out: it is there."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return where the module is, if the package has imported it meanwhile."""
        package = sys.modules.get(name.rpartition(".")[0])
        if not isinstance(package, Unread) or "_begun" in vars(package) or name == _ALONE:
            return None
        _read(package.__name__)
        module = sys.modules.get(name)
        if module is None:
            return None
        # The import heeds the module's own spec before this answer, and would run the module's code once more.
        spec = ModuleSpec(name, _There(), loader_state=module.__spec__)
        vars(module)["__spec__"] = spec  # torch's modules of settings refuse to be assigned to
        return spec


class _There(Loader):
    """Loads a module that is loaded."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return it."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it was."""
        assert module.__spec__
        vars(module)["__spec__"] = module.__spec__.loader_state


class _Compiler(Unread):
    def _known(self, name: str) -> Any:
        return _unmarked if name in _MARKS else {"eval_frame": _frames, "trace_rules": _rules}.get(name)


class _Frames:
    """Its ``eval_frame``, of which libraries ask whether a model is compiled: none is before the package is read."""

    class _None:
        pass

    @property
    def OptimizedModule(self) -> type:
        """What compiled models are."""
        package = sys.modules[COMPILER]
        return self._None if isinstance(package, Unread) else package.eval_frame.OptimizedModule

    def __getattr__(self, name: str) -> Any:
        return getattr(_read(COMPILER).eval_frame, name)


class _Rules:
    """Its ``trace_rules``, of which torch.distributed empties a cache: there is none before the package is read."""

    def clear_lru_cache(self) -> None:
        """Empty the cache, if there is one."""
        if not isinstance(sys.modules[COMPILER], Unread):
            sys.modules[COMPILER].trace_rules.clear_lru_cache()

    def __getattr__(self, name: str) -> Any:
        return getattr(_read(COMPILER).trace_rules, name)


_frames = _Frames()
_rules = _Rules()


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
    _leave_unread(COMPILER, _Compiler)


class _Optimize(Unread):
    def _known(self, name: str) -> Any:
        return _assign if name == "linear_sum_assignment" else None


def _assign(*arguments: Any, **named: Any) -> Any:
    """Be what transformers takes from ``scipy.optimize`` for a loss of object detection."""
    return _read("scipy.optimize").linear_sum_assignment(*arguments, **named)


# What diffusers' schedulers (the beta distribution for ``use_beta_sigmas``, integrals for LMSDiscreteScheduler) and
# transformers' losses import of scipy.
SCIPY = {"scipy.stats": Unread, "scipy.integrate": Unread, "scipy.optimize": _Optimize}


def leave_scipy_unread() -> None:
    """Likewise what they import of scipy, where it is: no sampler but those asks for any of it."""
    if find_spec("scipy"):
        for name, kind in SCIPY.items():
            _leave_unread(name, kind)


# What cuts tensors up for several processes. peft, which adds LoRAs, asks whether weights are cut up, and counts on
# transformers to have imported it.
SHARDING = "torch.distributed.tensor"


def leave_sharding_unread() -> None:
    """Likewise what cuts tensors up, which ours never are; where torch has it."""
    import torch.distributed

    if torch.distributed.is_available():
        _leave_unread(SHARDING, Unread)
        torch.distributed.tensor = sys.modules[SHARDING]  # as an import would have


def _leave_unread(name: str, kind: type[Unread]) -> None:
    if name in sys.modules:
        return
    if not any(isinstance(each, _First) for each in sys.meta_path):
        sys.meta_path.insert(0, _First())
    spec = find_spec(name)
    assert spec
    package = module_from_spec(spec)
    package.__class__ = kind
    sys.modules[name] = package


def _read(name: str) -> Any:
    package = sys.modules[name]
    with _reading:
        if isinstance(package, Unread):
            package.read()
    return package
