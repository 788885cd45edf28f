"""A user's own scorer: ``module:function``, found where Python finds modules, the working directory among them."""

import contextlib
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.base.errors import BadInput, first_line

if TYPE_CHECKING:
    from jobs.score.scorers import Measure


@dataclass(frozen=True)
class OwnScorer:
    """A function of the user.

    Attributes:
        name: ``module:function``.
        gpus: see ``Scorer``.
        source: the module's file.
        sha256: of it: other code may measure otherwise.
    """

    name: str
    gpus: int
    source: Path
    sha256: str
    sample_seconds: float = 0.5
    by_batch: bool = True

    @classmethod
    def find(cls, name: str, gpus: int) -> "OwnScorer":
        """Import it.

        Raises:
            BadInput: there is no such module or function, or it does not take a batch and rows.
        """
        function = _import(name)
        module = sys.modules[name.partition(":")[0]]
        source = Path(getattr(module, "__file__", None) or "")
        if not source.is_file():
            raise BadInput(f"scorers={name}: {module.__name__} has no file, by which other code is told: write one")
        try:
            inspect.signature(function).bind(None, None)
        except TypeError:
            raise BadInput(f"scorers={name}: the function must take two arguments, like {_example(name)}") from None
        except ValueError:  # a compiled one, which does not say what it takes
            pass
        return cls(name, gpus, source, hashlib.sha256(source.read_bytes()).hexdigest())

    @property
    def identity(self) -> dict[str, Any]:
        """See ``Scorer``."""
        return {"scorer": self.name, "code": self.sha256[:16]}

    @property
    def inputs(self) -> list[Path]:
        """See ``Scorer``."""
        return [self.source.parent]

    def check(self) -> None:
        """See ``Scorer``."""
        if OwnScorer.find(self.name, self.gpus).sha256 != self.sha256:
            raise BadInput(f"{self.source} was changed since this was begun: run the same command again")

    def load(self, device: str) -> "Measure":
        """See ``Scorer``; ``cuda`` without a number is this process's own GPU for the function."""
        if device.startswith("cuda"):
            import torch

            torch.cuda.set_device(device)
        function = _import(self.name)

        def measure(*arguments: Any) -> Any:
            with _back():
                return function(*arguments)

        return measure


@contextlib.contextmanager
def _back() -> Iterator[None]:
    """Come back to the working directory, which is the whole process's: a run's paths may be relative to it."""
    before = os.open(".", os.O_RDONLY)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _import(name: str) -> Any:
    with _back():
        return _found(name)


def _found(name: str) -> Any:
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function, None)
    except (Exception, SystemExit) as error:  # whatever the user's module does when it is imported
        raise BadInput(f"scorers={name}: {module} cannot be imported: {first_line(error)}") from None
    if not callable(found):
        raise BadInput(f"scorers={name}: {module} has no function {function}: define {_example(name)}")
    return found


def _example(name: str) -> str:
    return f"def {name.partition(':')[2]}(media, rows), which returns {{'column': [one value for each row]}}"
