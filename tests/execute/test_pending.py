"""Which of Slurm's reasons pass."""

from pathlib import Path

import pytest

from jobs.execute.launches import Launch, Queued
from jobs.execute.pending import blocked, never
from jobs.execute.queue import Job

PASSES = (
    *("Priority", "Resources", "JobArrayTaskLimit", "Dependency", "BeginTime", "None", "Licenses", "Reservation"),
    *("ReqNodeNotAvail", "AssocMaxJobsLimit", "AssocGrpCpuLimit", "QOSMaxJobsPerUserLimit", "QOSGrpNodeLimit"),
    *("QOSMaxCpuPerUserLimit", "QOSMaxGRESPerUser", "PartitionDown", "Prolog", "Cleaning", "QOSMaxCpuPerAccountLimit"),
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
)
STAYS = (
    *("JobHeldUser", "JobHeldAdmin", "BadConstraints", "DependencyNeverSatisfied", "PartitionTimeLimit"),
    *("PartitionNodeLimit", "PartitionConfig", "AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"),
    *("AssocMaxCpuPerJobLimit", "QOSMaxCpuPerJobLimit", "QOSMaxGRESPerJob", "QOSMaxNodePerJobLimit", "QOSMinGRES"),
    *("QOSMaxMemoryPerNode", "AssocMaxGRESPerNode", "launch_failed_requeued_held", "InvalidQOS", "QOSNotAllowed"),
    *("AccountNotAllowed", "MaxMemPerLimit", "QOSMinCpuNotSatisfied", "AssocMaxCPUMinutesPerJobLimit"),
)


@pytest.mark.parametrize("reason", PASSES)
def test_passes(reason: str) -> None:
    assert never(reason) is None


@pytest.mark.parametrize("reason", STAYS)
def test_stays(reason: str) -> None:
    assert never(reason)


def test_a_limit_of_a_user_stays_where_none_of_the_users_jobs_runs() -> None:
    assert never("QOSMaxCpuPerUserLimit", nothing_runs=True)
    assert never("QOSMaxGRESPerUser", nothing_runs=True)
    assert never("AssocGrpCpuLimit", nothing_runs=True) is None  # others of the account may run


@pytest.mark.parametrize(
    ("jobs", "sentences"),
    [
        ([("PENDING", "JobHeldUser")] * 2, ["2 tasks will not start (JobHeldUser): "]),
        ([("PENDING", "JobHeldUser"), ("PENDING", "Priority")], []),
        ([("PENDING", "JobHeldUser"), ("RUNNING", "None")], []),
        ([("PENDING", "JobHeldUser"), ("COMPLETING", "None")], []),
        ([], []),
    ],
)
def test_the_wait_is_over_when_none_of_the_tasks_can_start(jobs, sentences) -> None:
    tasks = [
        Queued(Launch(Path("l")), 0, number, Job("1", number, state, reason, "", None, "n"))
        for number, (state, reason) in enumerate(jobs)
    ]
    found = blocked(tasks, nothing_runs=False)
    assert [sentence[: len(begin)] for sentence, begin in zip(found, sentences, strict=True)] == sentences
