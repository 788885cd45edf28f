"""Whether Slurm took an array for which sbatch did not answer: found out with patience, or refused."""

import contextlib
import time
from collections.abc import Callable

from jobs.base.errors import BadInput
from jobs.base.times import QUEUE, SETTLES
from jobs.execute import queue
from jobs.execute.launches import Launch, queued_arrays


def was_taken(launch: Launch, serial: int, say: Callable[[str], None]) -> bool:
    """Return whether Slurm has, or had, an array; the answer is written down.

    A controller that was just restarted, or is overloaded, may take what it was sent long after sbatch gave up: that
    the queue does not show the array counts only when ``SETTLES`` seconds have passed since it was sent, and Slurm
    answered all the while at the end.

    Raises:
        BadInput: Slurm does not answer, so that nobody knows.
    """
    name = launch.sent_name(serial)
    if launch.claimed(serial):  # it has begun already
        return True
    say(f"sbatch gave no answer for {name}: finding out whether Slurm took it")
    sent, silent_since = launch.sent_at(serial), time.monotonic()
    answers = 0
    while True:
        jobs = queue.look(launch.owners)
        if jobs is None:
            answers = 0
            if time.monotonic() - silent_since > 2 * SETTLES:
                raise BadInput(
                    f"Slurm does not say whether it took the array {name}: nothing more is submitted; when squeue "
                    "answers again, start the same command again, which waits for that array if it is there"
                )
        else:
            answers, silent_since = answers + 1, time.monotonic()
            known = (
                launch.claimed(serial) or (launch.folder.name, serial) in queued_arrays(jobs) or _accounted(name, sent)
            )
            # the file system's clock may be ahead of ours
            if known or (answers > 1 and abs(time.time() - sent) > SETTLES):
                with contextlib.suppress(OSError):  # a full disk: the next command asks again
                    launch.answered(serial, "taken" if known else "lost")
                say(f"Slurm {'took' if known else 'did not take'} it")
                return known
        time.sleep(QUEUE)


def _accounted(name: str, sent: float) -> bool:
    """Return whether the accounting knows the jobs, which may have ended already; False without accounting."""
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(sent - 3600))
    listing = queue.ask("sacct", "-XnP", f"--name={name}", f"--starttime={since}", "--format=jobid")
    return bool((listing or "").strip())
