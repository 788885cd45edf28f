"""Whether a GPU has clearly room for two batches at once.

Where memory is short, cuDNN may take another algorithm than it would alone, because the workspace of the first one does
not fit: PyTorch catches that and says nothing, and last bits would depend on what else was under way.
"""

from typing import Any

from jobs.dataset.layout import Sample

SPARE = 1 << 30  # bytes for what each thread and stream has of its own, such as workspaces of cuBLAS
SCATTERED = 1.25  # of what calls need: memory of two of them lies in more pieces than that of one


class Room:
    """What batches need of the current GPU, by what sets them apart, each measured while nothing else was under way."""

    def __init__(self) -> None:
        self._needs: dict[Any, int] = {}
        self._before = self._kept = 0

    def begin(self) -> None:
        """Take note that a call begins, and that nothing else is under way."""
        import torch

        cuda: Any = torch.cuda  # not all of it is typed
        cuda.reset_peak_memory_stats()
        self._before = torch.cuda.memory_allocated()

    def note(self, batch: list[Sample]) -> None:
        """Remember what the call that began last needed, where nothing was begun beside it."""
        import torch

        need = torch.cuda.max_memory_allocated() - self._before
        self._needs[_kind(batch)] = max(need, self._needs.get(_kind(batch), 0))
        self._kept = max(self._kept, self._before)

    def has_both(self, batch: list[Sample], following: list[Sample]) -> bool:
        """Return whether two batches fit at once; not of those that were not measured."""
        import torch

        if not {_kind(batch), _kind(following)} <= self._needs.keys():
            return False
        free, _ = torch.cuda.mem_get_info()
        there = free + torch.cuda.memory_reserved()
        return fits(there, self._kept, self._needs[_kind(batch)], self._needs[_kind(following)])


def fits(there: int, kept: int, *needs: int) -> bool:
    """Return whether calls clearly fit at once.

    Args:
        there: bytes of a device that this process has or could have.
        kept: bytes of these that are in use whatever is made, such as weights.
        needs: the most bytes that each call has in use beyond.
    """
    return kept + SCATTERED * sum(needs) + SPARE <= there


def _kind(batch: list[Sample]) -> Any:
    return len(batch), batch[0].batch_settings
