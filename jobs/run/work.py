"""Work that lies in shards of a directory: to generate a run is one kind of it, to score one another."""

from collections.abc import Sequence
from typing import Protocol

from jobs.options.schema import Options
from jobs.store.rundir import RunDir


class Shards(Protocol):
    """Which samples belong to which shard."""

    @property
    def num_shards(self) -> int: ...

    @property
    def shard_size(self) -> int: ...

    def shard_range(self, shard: int) -> Sequence[int]: ...


class Work(Protocol):
    """What tasks, pools and launches need to know of it.

    Attributes:
        options: those of them that say where and by how many processes it is done.
        directory: where its journals, logs and done records lie.
        layout: its shards.
        workers: how many of its processes this machine has at once.
    """

    @property
    def options(self) -> Options: ...

    @property
    def directory(self) -> RunDir: ...

    @property
    def layout(self) -> Shards: ...

    @property
    def workers(self) -> int: ...

    def unfinished(self) -> list[int]:
        """Return the shards that this command is for and that are not done."""
