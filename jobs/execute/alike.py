"""Tells a cause that all samples share from samples that are bad themselves."""

import re
from collections.abc import Callable

from jobs.base.errors import BadInput
from jobs.model.pipeline import Failure
from jobs.store.rundir import RunDir

MOST = 8  # samples: that so many of a process's first ones are bad themselves, and for one reason, is unlikely


class Alike:
    """Ends a process whose first samples all fail for one reason, while nothing of the run was ever made.

    A wrong option or a broken library fails every sample, some only once they are denoised: the others of the run would
    cost as much, and be given up. Until it is known, failures are held back, so that they are not put down to samples.

    Args:
        directory: the run's.
    """

    def __init__(self, directory: RunDir):
        self._directory = directory
        self._held: list[Callable[[], None]] = []
        self._reason, self._count, self._sound = "", 0, False

    def made(self) -> None:
        """Take note that a sample was made."""
        self._sound = True
        self.release()

    def failed(self, failure: Failure, record: Callable[[], None]) -> None:
        """Take note of a failure.

        Args:
            failure: of a sample.
            record: puts it down to the sample.

        Raises:
            BadInput: all samples fail.
        """
        reason = re.sub(r"\d+", "0", failure.reason)
        if failure.final or reason != (self._reason or reason):
            self.made()  # not all are alike
        if self._sound:
            record()
            return
        self._reason = reason
        self._count += 1
        self._held.append(record)
        if self._count >= MOST:
            if self._something_was_made():
                self.made()
                return
            self._held.clear()
            raise BadInput(
                f"the first {self._count} samples all failed for one reason, so no others were tried: "
                f"{failure.reason}: mend that and run the same command again, or use a new exp_name with other options"
            )

    def release(self) -> None:
        """Put down what was held back."""
        for record in self._held:
            record()
        self._held.clear()

    def _something_was_made(self) -> bool:
        """Return whether a process, this one or another, has ever made a sample of the run."""
        begun = any(path.stat().st_size for path in self._directory.work.glob("*.tar"))
        return begun or bool(self._directory.done_shards())  # no shard is done without a sample
