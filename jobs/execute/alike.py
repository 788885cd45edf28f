"""Tells a cause that all samples share from samples that are bad themselves."""

import re
from collections.abc import Callable

from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.model.pipeline import Failure
from jobs.run.run import Run

MOST = 8  # prompts: that so many of a process's first ones are bad themselves, and for one reason, is unlikely


class Alike:
    """Ends a process whose first samples all fail for one reason, while nothing of the run was ever made.

    A wrong option or a broken library fails every sample, some only once they are denoised: the others of the run would
    cost as much, and be given up. Until it is known, failures are held back, and are not put down to samples. Several
    samples of one prompt count as one; a run of fewer prompts, or a pass over samples that failed before, has nothing
    that could be spared.

    Args:
        run: the run.
    """

    def __init__(self, run: Run):
        self._directory = run.directory
        self._held: list[Callable[[bool], None]] = []
        self._prompts: set[int] = set()
        self._reason = ""
        self._sound = len(run.layout.table) < MOST or "retry" in run.identity

    def made(self) -> None:
        """Take note that a sample was made."""
        self._sound = True
        self._release(True)

    def failed(self, sample: Sample, failure: Failure, record: Callable[[bool], None]) -> None:
        """Take note of a failure.

        Args:
            sample: that failed.
            failure: why.
            record: writes it down; is told whether the sample itself is to blame.

        Raises:
            BadInput: all samples fail.
        """
        reason = re.sub(r"\d+", "0", failure.reason)
        if failure.final or reason != (self._reason or reason):
            self.made()  # not all are alike
        if self._sound:
            record(failure.strike)
            return
        self._reason = reason
        self._prompts.add(sample.prompt_index)
        self._held.append(lambda blame: record(blame and failure.strike))
        if len(self._prompts) < MOST:
            return
        if self._something_was_made():
            self.made()
            return
        self._held.clear()
        raise BadInput(
            f"the samples of the first {MOST} prompts all failed for one reason, so no others were tried: "
            f"{failure.reason}: mend that and run the same command again, or use a new exp_name with other options"
        )

    def end_of_shard(self) -> None:
        """Write down what was held back; it is put down to samples only where others were made."""
        if self._held:
            self._release(self._something_was_made())

    def _release(self, blame: bool) -> None:
        for record in self._held:
            record(blame)
        self._held.clear()

    def _something_was_made(self) -> bool:
        """Return whether a process, this one or another, has ever made a sample of the run."""
        if self._directory.done_shards():  # none is done without a sample
            return True
        for partial in self._directory.work.glob("*.tar"):
            try:
                if partial.stat().st_size:
                    return True
            except FileNotFoundError:  # it was published just now
                return True
        return False
