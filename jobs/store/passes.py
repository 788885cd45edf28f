"""Passes over a run's failed samples (``jobs.run.retry``), as their directories tell of them."""

from collections.abc import Sequence

from jobs.store.attempt import strikes_of
from jobs.store.journal import journals
from jobs.store.rundir import RunDir


def is_hopeless(directory: RunDir, shard: int, samples: Sequence[int], sample_attempts: int) -> bool:
    """Return whether all samples of a shard failed as often as they may: it is never published, and nobody goes on.

    Args:
        directory: of the pass.
        shard: one that is not done.
        samples: those that it has.
        sample_attempts: how often a sample may fail.
    """
    strikes = strikes_of(row for journal in journals(directory, shard) for row in journal.failed)
    return all(strikes[index] >= sample_attempts for index in samples)
