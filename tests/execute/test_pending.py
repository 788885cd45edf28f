"""Which of Slurm's reasons pass."""

from pathlib import Path

import pytest

from jobs.execute.launches import Launch, Queued
from jobs.execute.pending import blocked, never, nothing_runs
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
    *(
        "QOSMaxMemoryPerNode",
        "AssocMaxGRESPerNode",
        "launch_failed_requeued_held",
        "launch failed requeued held",
        "InvalidQOS",
        "QOSNotAllowed",
    ),
    *("AccountNotAllowed", "MaxMemPerLimit", "QOSMinCpuNotSatisfied", "AssocMaxCPUMinutesPerJobLimit"),
)


@pytest.mark.parametrize("reason", PASSES)
def test_passes(reason: str) -> None:
    assert never(reason) is None


@pytest.mark.parametrize("reason", STAYS)
def test_stays(reason: str) -> None:
    assert never(reason)


def test_a_limit_of_a_user_stays_where_none_of_the_users_jobs_runs() -> None:
    assert never("QOSMaxCpuPerUserLimit", alone=True)
    assert never("QOSMaxGRESPerUser", alone=True)
    assert never("AssocGrpCpuLimit", alone=True) is None  # others of the account may run
    for reason in ("QOSMaxJobsPerUserLimit", "QOSMaxSubmitJobPerUserLimit", "MaxJobsPerUser"):
        assert never(reason, alone=True) is None  # jobs that have just ended count for a while


@pytest.mark.parametrize(
    ("states", "nothing"),
    [
        ([], True),
        (["PENDING"], True),
        (["PENDING", "COMPLETING"], False),
        (["RUNNING"], False),
        (["SUSPENDED"], False),
        (["CONFIGURING"], False),
    ],
)
def test_what_has_resources_runs(states, nothing) -> None:
    assert nothing_runs([Job("1", None, state, "None", "", None, "n") for state in states]) is nothing


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
    found = blocked(tasks, alone=False)
    assert [sentence[: len(begin)] for sentence, begin in zip(found, sentences, strict=True)] == sentences
