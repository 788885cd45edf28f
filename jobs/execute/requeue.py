"""A task's way back into the queue, when it was stopped before its work was done."""

import os
import re
import shutil
import subprocess
import time

from jobs.base.times import LAST
from jobs.execute.steering import to_ask
from jobs.store.process import slurm_job

GONE_FOR_GOOD = ("CANCELLED", "COMPLETED", "FAILED")  # states of a job that somebody ended
_MOMENT = 1.0  # seconds between tries, while the controller does not answer


def requeue(until: float | None) -> str:
    """Put this process's job back into the queue; it is about to be killed then.

    Args:
        until: when the job is killed, in seconds since the epoch: no longer is tried; None if that is not known.

    Returns:
        "" when it is in the queue, or why not.
    """
    job = slurm_job()
    if not job:
        return "no cluster can queue it again"
    if not shutil.which("scontrol"):
        return "there is no scontrol here to queue it again (containers seldom have it)"
    state = job_state(job)
    if state.startswith(GONE_FOR_GOOD):
        return f"somebody ended the job ({state})"
    if state.startswith(("PENDING", "REQUEUE")):
        return ""  # whoever told us to stop has done so
    if state.startswith("COMPLETING") and not (until and time.time() > until):
        # Nobody but Slurm knows whether it was scancel, or it queues the job again by itself: it would come back.
        return "Slurm is ending the job already"
    until = until or time.time() + 10 * LAST
    while True:
        done = _ask("requeue", job)
        if done.returncode == 0 or time.time() > until:
            break
        time.sleep(_MOMENT)
        if "controller" not in done.stderr:  # it answered, and says no
            break
    if done.returncode and job_state(job).startswith(("PENDING", "REQUEUE")):
        return ""  # another process of this job was faster
    return "" if done.returncode == 0 else f"scontrol requeue {job}: {_said(done.stderr)}"


def job_state(job: str) -> str:
    """Return Slurm's state of a job; "" when the controller does not answer."""
    found = re.search(r"JobState=(\S+)", _ask("show", "job", "--oneliner", job).stdout)
    return found[1] if found else ""


def _ask(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["scontrol", *words], capture_output=True, text=True, timeout=5 * LAST, env=to_ask(os.environ)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", f"no answer of the controller: {error}")


def _said(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "it failed without a word"
