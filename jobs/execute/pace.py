"""How long this process's batches take."""

from dataclasses import dataclass, field
from typing import Any

from jobs.dataset.layout import Sample


@dataclass
class Pace:
    """How long batches take, by what sets them apart."""

    _seconds: dict[Any, float] = field(default_factory=dict)
    _samples: list[float] = field(default_factory=list)

    def expected(self, batch: list[Sample], audited: bool = False) -> float:
        """Return about how many seconds a batch takes: as the last one like it, else as the slowest; 0 at first."""
        slowest = max(self._seconds.values(), default=0.0)
        return self._seconds.get((len(batch), batch[0].batch_settings, audited), slowest)

    def note(self, batch: list[Sample], span: float, taken: float, audited: bool = False) -> None:
        """Remember what a batch took, its audit and all.

        Args:
            batch: its samples.
            span: seconds from its beginning to its end.
            taken: seconds of these that passed after the end of the batch before: fewer where the two overlapped.
            audited: whether it was audited.
        """
        self._seconds[len(batch), batch[0].batch_settings, audited] = span
        self._samples.append(taken / len(batch))

    @property
    def begun(self) -> bool:
        """Whether this process has made a batch."""
        return bool(self._samples)

    @property
    def sample(self) -> float | None:
        """Seconds of a sample on the average, without the first batch's; None of a few."""
        later = self._samples[1:]
        return sum(later) / len(later) if len(later) >= 3 else None
