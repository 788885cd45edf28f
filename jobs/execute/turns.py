"""Which batches of a shard are to be made, and which of them may begin while the one before is decoded."""

import time
from functools import cached_property

from jobs.dataset.layout import Sample
from jobs.execute.audit import Audit
from jobs.execute.halt import Halt
from jobs.execute.overlap import Overlap
from jobs.execute.pace import Pace
from jobs.run.run import Run
from jobs.store.attempt import Attempt


class Turns:
    """The batches of one attempt at a shard.

    Calls overlap only where nothing is asked of them alone: not while audits take all steps, and not in an attempt at a
    shard that processes died at, so that what they die of is one batch.

    Args:
        run: the run.
        attempt: at that shard.
        halt: says whether there is time for another batch.
        pace: says how long that takes.
        audit: says which batches are made twice.
        overlap: begins batches; None where none may begin early.
    """

    def __init__(self, run: Run, attempt: Attempt, halt: Halt, pace: Pace, audit: Audit, overlap: Overlap | None):
        self._run, self._attempt, self._halt, self._pace, self._audit = run, attempt, halt, pace, audit
        self._overlap = None if attempt.deaths else overlap
        self._began = 0.0
        self._inherited: dict[int, set[int]] = {}
        if self._overlap:
            self._overlap.following = self._following

    @cached_property
    def batches(self) -> list[list[Sample]]:
        """All batches of the shard, in order."""
        return self._run.layout.batches(self._attempt.shard)

    def inherited(self, batch: list[Sample]) -> set[int]:
        """Return the samples of a batch that earlier attempts left whole."""
        first = batch[0].index
        if first not in self._inherited:  # hashes are checked: once is enough
            self._inherited[first] = {one.index for one in batch if self._attempt.inherits(one.index)}
        return self._inherited[first]

    def is_wanted(self, batch: list[Sample]) -> bool:
        """Return whether a batch has a sample that nobody has made, and that is not given up."""
        most, strikes = self._run.options.sample_attempts, self._attempt.strikes
        return any(one.index not in self.inherited(batch) and strikes[one.index] < most for one in batch)

    def has_begun(self, batch: list[Sample]) -> bool:
        """Return whether a batch was begun while the one before was decoded."""
        return self._ahead == batch

    def early(self, batch: list[Sample], now: float) -> float:
        """Return for how many seconds a batch has been under way before it is asked for, ``now`` by the same clock."""
        return now - self._began if self.has_begun(batch) else 0.0

    def trying(self, indices: list[int], sound: bool) -> None:
        """Write down which samples are being made: those of a call, and those of the one that was begun."""
        begun = [one.index for one in self._ahead if one.index not in indices]
        self._attempt.trying([*indices, *begun], sound)

    def came_back(self) -> None:
        """Write down that of what was being made only the batch that was begun is left."""
        if self._ahead:
            self.trying([], True)

    def end(self) -> None:
        """Let go of what was begun."""
        if self._overlap:
            self._overlap.drop()

    @property
    def _ahead(self) -> list[Sample]:
        return self._overlap.ahead if self._overlap else []

    def _following(self, batch: list[Sample]) -> list[Sample]:
        """Return the batch to begin now that this one has denoised; nothing where it has to wait."""
        assert self._overlap
        if batch not in self.batches or self._audit.is_due(batch):  # a part of a batch that failed; or alone with it
            return []
        following = next(filter(self.is_wanted, self.batches[self.batches.index(batch) + 1 :]), None)
        if following is None or self._attempt.run.is_done(self._attempt.shard):
            return []
        if not self._overlap.has_room(batch, following):
            return []
        if self._halt.end is not None and not self._pace.begun:
            return []  # nobody knows yet how long a batch takes
        # It ends when this one has been decoded, and it too.
        seconds = self._pace.expected(following, self._audit.is_due(following)) + self._overlap.lag
        if self._halt.before(seconds):
            return []
        self._attempt.trying([one.index for one in (*batch, *following)], self._pace.begun)
        self._began = time.perf_counter()
        return following
