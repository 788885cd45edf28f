"""Which limits apply to a run's jobs, from texts as Slurm 22.05 prints them."""

import pytest

from jobs.execute import limits
from jobs.execute.limits import Limits, read_limits

CONFIG = "MaxArraySize            = 1001\nMaxJobCount             = 10000\nMaxTasksPerNode = 512\n"
# A user of two accounts below one; of the first also with limits for one partition.
RECORDS = """\
Current Association Manager state

Association Records

ClusterName=c Account=root UserName= Partition= Priority=0 ID=1
    ParentAccount= Lft=1 DefAssoc=No
    GrpJobs=N(5) GrpJobsAccrue=N(3)
    GrpSubmitJobs=N(9000) GrpWall=N(0.00)
    MaxJobs= MaxJobsAccrue= MaxSubmitJobs= MaxWallPJ=
ClusterName=c Account=lab UserName= Partition= Priority=0 ID=2
    ParentAccount=root(1) Lft=2 DefAssoc=No
    GrpSubmitJobs=500(460) GrpWall=N(0.00)
ClusterName=c Account=lab UserName=ann(1000) Partition= Priority=0 ID=3
    ParentAccount= Lft=3 DefAssoc=Yes
    GrpSubmitJobs=N(8) GrpWall=N(0.00)
    MaxJobs= MaxJobsAccrue= MaxSubmitJobs=100(8) MaxWallPJ=
ClusterName=c Account=lab UserName=ann(1000) Partition=tiny Priority=0 ID=4
    ParentAccount= Lft=4 DefAssoc=No
    GrpSubmitJobs=N(0) GrpWall=N(0.00)
    MaxJobs= MaxJobsAccrue= MaxSubmitJobs=2(0) MaxWallPJ=
ClusterName=c Account=other UserName= Partition= Priority=0 ID=5
    ParentAccount=root(1) Lft=5 DefAssoc=No
    GrpSubmitJobs=N(0) GrpWall=N(0.00)
ClusterName=c Account=other UserName=ann(1000) Partition= Priority=0 ID=6
    ParentAccount= Lft=6 DefAssoc=No
    GrpSubmitJobs=N(0) GrpWall=N(0.00)
    MaxJobs= MaxJobsAccrue= MaxSubmitJobs= MaxWallPJ=

QOS Records

QOS=normal(1)
    UsageRaw=0.000000
    GrpJobs=N(0) GrpJobsAccrue=N(1) GrpSubmitJobs=N(1) GrpWall=N(0.00)
    Account Limits
        No Accounts
    User Limits
        No Users
QOS=few(2)
    GrpJobs=N(5) GrpJobsAccrue=N(0) GrpSubmitJobs=300(290) GrpWall=N(0.00)
    PreemptMode=OFF
    Account Limits
      lab
        MaxJobsPA=N(3) MaxJobsAccruePA=N(0) MaxSubmitJobsPA=50(44)
        MaxTRESPA=cpu=N(3)
      other
        MaxJobsPA=N(0) MaxJobsAccruePA=N(0) MaxSubmitJobsPA=50(0)
    User Limits
      10000
        MaxJobsPU=N(3) MaxJobsAccruePU=N(0) MaxSubmitJobsPU=5(4)
      1000
        MaxJobsPU=N(3) MaxJobsAccruePU=N(0) MaxSubmitJobsPU=5(3)
"""
# The controller tells a user's limits only once the user has a job.
POLICIES = "normal|||\nfew|300|5|50\nnone|0||\nfresh||7|\n"
ASSOCIATIONS = "lab||normal\nlab|tiny|normal\nother||few\n"
PARTITIONS = (
    "PartitionName=gpu AllowGroups=ALL Default=YES QoS=N/A MaxNodes=UNLIMITED\n"
    "PartitionName=tiny AllowGroups=ALL Default=NO QoS=fresh MaxNodes=1\n"
)


def answers(**texts: str | None):
    """Answer as Slurm's commands would."""

    def ask(*command: str) -> str | None:
        about = next(word for word in ("config", "assoc_mgr", "partition", "assoc", "qos") if word in command)
        if about == "partition" and command[-1] != "partition":
            return "".join(line for line in PARTITIONS.splitlines(True) if f"PartitionName={command[-1]} " in line)
        known = {"config": CONFIG, "assoc_mgr": RECORDS, "partition": PARTITIONS}
        return {**known, "assoc": ASSOCIATIONS, "qos": POLICIES, **texts}[about]

    return ask


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setattr(limits, "user_name", lambda uid: "ann")


@pytest.mark.parametrize(
    ("settings", "places", "most"),
    [
        ({}, 40, 100),  # of the account above: 460 of 500 are there
        ({"partition": "tiny"}, 2, 2),  # of the association for that partition
        ({"account": "other"}, 2, 5),  # whose default QOS is another one
        ({"account": "other", "qos": "normal"}, 999, 9999),  # of the whole cluster
        ({"qos": "few"}, 2, 5),
        ({"account": "other", "partition": "tiny", "qos": "normal"}, 7, 7),  # of the partition's QOS
        ({"qos": "none"}, 0, 0),
        ({"qos": "unknown"}, 40, 100),
    ],
)
def test_the_limits_that_apply_to_the_jobs(monkeypatch, settings, places, most) -> None:
    monkeypatch.setattr(limits, "ask", answers())
    assert read_limits(settings) == Limits(1001, places, most)


def test_what_is_not_told_is_no_limit(monkeypatch) -> None:
    monkeypatch.setattr(limits, "ask", lambda *command: None)
    assert read_limits({}) == Limits(1001, None, None)
    monkeypatch.setattr(limits, "ask", answers(assoc_mgr=None, assoc=None, qos=None))
    assert read_limits({}) == Limits(1001, 9999, 9999)


def test_an_array_is_no_longer_than_the_cluster_takes_jobs(monkeypatch) -> None:
    monkeypatch.setattr(limits, "ask", answers(config="MaxArraySize = 4001\nMaxJobCount = 2000\n"))
    assert read_limits({"account": "other", "qos": "normal"}).array == 2000


def test_a_user_without_a_name_is_known_by_number(monkeypatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(limits, "user_name", lambda uid: "")
    monkeypatch.setattr(limits, "ask", lambda *command: asked.append(command))
    read_limits({})
    assert any("users=1000" in command for command in asked)
