"""Slurm's reasons why a job is pending: which pass by themselves, and which keep it from ever starting."""

import re
from collections import Counter
from collections.abc import Iterable

from jobs.execute.launches import Queued
from jobs.execute.queue import Job

# Slurm's word -> what it means and how it is mended. The jobs themselves are left as they are.
_NEVER = {
    "JobHeldUser": "they are held: release them (scontrol release), or cancel them",
    "JobHeldAdmin": "an administrator holds them: ask for them to be released, or cancel them",
    "BadConstraints": "no node is what they ask for: cancel them, and ask for less or for another partition",
    "PartitionConfig": "the partition's nodes are not what they ask for: cancel them, and ask for less",
    "PartitionTimeLimit": "the partition has a shorter time limit: cancel them, and lower hydra.launcher.timeout_min",
    "PartitionNodeLimit": "the partition does not give as many nodes: cancel them, and lower hydra.launcher.nodes",
    "DependencyNeverSatisfied": "what they depend on has failed: cancel them, and leave that dependency out",
    "AccountNotAllowed": "the partition does not take this account: cancel them, and set hydra.launcher.account",
    "QOSNotAllowed": "the partition does not take this QOS: cancel them, and set hydra.launcher.qos",
    "InvalidAccount": "the account is not valid: cancel them, and set hydra.launcher.account",
    "InvalidQOS": "the QOS is not valid: cancel them, and set hydra.launcher.qos",
    "ReservationDeleted": "their reservation is gone: cancel them, and submit without it",
    "DeadLine": "their deadline has passed: cancel them",
    "MaxMemPerLimit": "they ask for more memory than a job may have: cancel them, and lower hydra.launcher.mem_gb",
}
_HELD = re.compile(r"requeue_?.*_held|job_requeued_in_held_state", re.IGNORECASE)
# Limits that one job alone exceeds. Those of all jobs of a user, an account or a QOS pass as other jobs end.
_ALONE = re.compile(r"^(Assoc|QOS)?Max\w*(PerJob|PerNode|WallDuration)\w*$|^QOSMin\w+$")
# Limits of a user's own jobs: one that waits for them although none of them runs exceeds them alone.
# Not so a number of jobs: those that have just ended, or wait to be requeued, count for a while.
_OF_USER = re.compile(r"^(QOS)?Max(?!Jobs|Submit)\w+PerUser\w*$")


def never(reason: str, alone: bool = False) -> str | None:
    """Return why jobs with this reason will not start, and what to do; None where the reason may pass by itself.

    Args:
        reason: Slurm's.
        alone: whether no job of this user is running.
    """
    if reason in _NEVER:
        return _NEVER[reason]
    if _HELD.search(reason.replace(" ", "_")):  # Slurm writes some of its reasons as words
        return "Slurm holds them after too many requeues: see why they failed, then scontrol release, or cancel them"
    if _ALONE.match(reason) or (alone and _OF_USER.match(reason)):
        return (
            "they ask for more than your account or QOS allows (or for less): cancel them, and ask for what it allows"
        )
    return None


def nothing_runs(jobs: Iterable[Job]) -> bool:
    """Return whether none of these jobs has resources: those that complete or are suspended still do."""
    return all(job.state == "PENDING" for job in jobs)


def reasons(tasks: Iterable[Queued]) -> Counter[str]:
    """Return Slurm's reason -> how many of the tasks are pending for it."""
    return Counter(task.job.reason for task in tasks if task.job.state == "PENDING")


def blocked(tasks: list[Queued], alone: bool) -> list[str]:
    """Return a sentence for each reason if none of the tasks will ever run; [] if one may.

    Args:
        tasks: that are in the queue.
        alone: whether no job of this user is running.
    """
    counts = reasons(tasks)
    verdicts = {reason: never(reason, alone) for reason in counts}
    if not tasks or counts.total() < len(tasks) or not all(verdicts.values()):
        return []
    return [f"{count} tasks will not start ({reason}): {verdicts[reason]}" for reason, count in counts.items()]
