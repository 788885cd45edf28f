"""Work that is not a ``Run``: what it has to bring along where generating has modules of its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from jobs.execute.halt import Halt
from jobs.run.run import Run
from jobs.run.work import Work
from jobs.store.writer import Report


class OtherWork(Work, Protocol):
    """Another kind of work than to generate.

    Attributes:
        inputs: files and folders that its processes read, beside its directory's parent.
        weight_bytes: what each of them loads.
        sample_seconds: what a sample may take, roughly, to size tasks.
        preloaded: modules that the process imports of which those on a CPU are forked.
    """

    @property
    def inputs(self) -> list[Path]: ...

    @property
    def weight_bytes(self) -> int: ...

    @property
    def sample_seconds(self) -> float: ...

    @property
    def preloaded(self) -> list[str]: ...

    def check(self) -> None:
        """Make sure, where a task starts, that it is still for what lies in its directory.

        Raises:
            BadInput: it is not, or something that it needs is gone.
        """

    def make(self, shards: Iterable[int], *, device: str, log_path: str, report: Report, halt: Halt) -> float:
        """Make shards until it is to stop; arguments and result are those of ``worker.generate_shards``."""


AnyWork = Run | OtherWork
