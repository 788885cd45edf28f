"""One run: all that follows from its options, worked out once and handed to whoever needs it."""

from dataclasses import dataclass, field
from typing import Any

from jobs.dataset.layout import Layout
from jobs.dataset.shards import parse_shards
from jobs.media.image import MediaFormat
from jobs.model.checkpoint import Checkpoint
from jobs.model.forecast import Forecast
from jobs.options.schema import Options
from jobs.store.reopen import short_shards
from jobs.store.rundir import RunDir


@dataclass(frozen=True)
class Run:
    """A run whose options passed every check. Small to pickle: prompts and calibration go by reference.

    Attributes:
        options: as given, in their own types.
        checkpoint: the model's; it may name weights that are not there (``Checkpoint.check``).
        forecast: how denoising steps are forecast; None for the plain pipeline.
        layout: its samples and shards.
        media: how images or clips become files.
        directory: where it lies.
        name: what it is called in every sample's json; it keeps the name it began with, wherever it is moved.
        id: tells it from other runs of that name, likewise.
        identity: what decides the bytes of its tars (json types); the directory is refused to any other.
        config: the composed configuration as YAML, for the record.
        notes: what there is to know of how the options were read.
    """

    options: Options
    checkpoint: Checkpoint
    forecast: Forecast | None
    layout: Layout
    media: MediaFormat
    directory: RunDir
    name: str
    id: str
    identity: dict[str, Any] = field(repr=False)
    config: str = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def makes_clips(self) -> bool:
        """Whether samples are clips rather than images."""
        return self.media.fps is not None

    @property
    def workers(self) -> int:
        """Samples that are made at once on this machine."""
        return self.options.ngpu // self.options.parallel.size

    def unfinished(self) -> list[int]:
        """Return the shards this command is for: not done, and among ``shards=`` where that was given."""
        left = self.directory.unfinished(self.layout.num_shards)
        if self.directory.exists():
            left = sorted({*left, *short_shards(self.directory, self.layout)})
        if self.options.shards is not None:
            asked = set(parse_shards(self.options.shards, self.layout.num_shards))
            left = [shard for shard in left if shard in asked]
        return left
