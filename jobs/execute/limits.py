"""How many tasks may be submitted: by the cluster, and by every association and QOS that applies to our jobs."""

import os
import re
from dataclasses import dataclass
from typing import Any

from jobs.execute.queue import ask, user_name

LARGEST = 1001  # Slurm's own default of MaxArraySize
_LIMIT = re.compile(r"(\d+)\((\d+)\)")  # "30(8)": at most 30, and 8 are there; N(8) is no limit


@dataclass(frozen=True)
class Limits:
    """What may be submitted.

    Attributes:
        array: most tasks of one array; its indices are below.
        places: tasks that may be submitted now, counting what is queued already; None where no limit is known.
        most: tasks that may be in the queue at once; None likewise.
    """

    array: int
    places: int | None
    most: int | None


def read_limits(settings: dict[str, Any]) -> Limits:
    """Ask Slurm; what it does not tell counts as no limit, since sbatch will say so anyway.

    Args:
        settings: of the launcher: account, partition and qos, or None for the defaults.
    """
    uid = os.getuid()
    user = user_name(uid) or str(uid)
    config = ask("scontrol", "show", "config") or ""
    records = ask("scontrol", "show", "assoc_mgr", f"users={user}", "flags=assoc,qos") or ""
    partition = settings.get("partition")
    named = filter(None, [(partition or "").split(",")[0]])
    listing = ask("scontrol", "--all", "--oneliner", "show", "partition", *named)  # it may be a hidden one
    chosen = partition_record(listing or "")
    name = partition or chosen.get("PartitionName", "")
    associations = ask("sacctmgr", "-nP", "show", "assoc", f"user={user}", "format=account,partition,defaultqos") or ""
    account = settings.get("account") or default_account(records, uid)
    qos = settings.get("qos") or default_qos(associations, account, name)
    policies = ask("sacctmgr", "-nP", "show", "qos", "format=name,grpsubmit,maxsubmitjobspu,maxsubmitjobspa") or ""
    rules = association_rules(records, uid, account, name)
    for each in {qos, chosen.get("QoS", "N/A")} - {"N/A", ""}:
        rules += qos_rules(records, policies, each, uid, account)
    total = cluster_limit(config, "MaxJobCount")
    rules += [(total - 1, whole_queue(records))] if total else []  # Slurm refuses the last one
    size = min(cluster_limit(config, "MaxArraySize") or LARGEST, total or LARGEST)
    return Limits(
        max(size, 1),
        min((max(most - there, 0) for most, there in rules), default=None),
        min((most for most, _ in rules), default=None),
    )


def cluster_limit(config: str, name: str) -> int | None:
    """Read a number of ``scontrol show config``."""
    found = re.search(rf"^{name}\s*=\s*(\d+)", config, re.MULTILINE)
    return int(found[1]) if found else None


def partition_record(listing: str) -> dict[str, str]:
    """Return the partition of ``scontrol --oneliner show partition``: the only one, or the default one."""
    lines = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in listing.splitlines()]
    return next((line for line in lines if line.get("Default") == "YES"), lines[0] if len(lines) == 1 else {})


def default_account(records: str, uid: int) -> str:
    """Return the account that jobs of a user have unless they name one; "" where it is not known."""
    own = [record for record in _associations(records) if record["UserName"].endswith(f"({uid})")]
    return next((record["Account"] for record in own if record.get("DefAssoc") == "Yes"), "")


def default_qos(associations: str, account: str, partition: str) -> str:
    """Return the QOS that jobs have unless they name one, from ``account|partition|default qos`` lines."""
    rows = [line.split("|") for line in associations.splitlines() if line.count("|") == 2]
    for wanted in ([account, partition], [account, ""]):
        for row in rows:
            if row[:2] == wanted and row[2]:
                return row[2]
    return "normal"


def association_rules(records: str, uid: int, account: str, partition: str) -> list[tuple[int, int]]:
    """Return (limit, how many are there) of the job's own association, and of the accounts above it.

    Other associations of the same user, for other accounts and partitions, say nothing about these jobs.
    """
    all_records = _associations(records)
    own = [each for each in all_records if each["UserName"].endswith(f"({uid})") and each["Account"] == account]
    exact = [each for each in own if each["Partition"] == partition] or [each for each in own if not each["Partition"]]
    rules = [rule for each in exact[:1] for name in ("MaxSubmitJobs", "GrpSubmitJobs") for rule in _rule(each, name)]
    accounts = {each["Account"]: each for each in all_records if not each["UserName"]}
    while account in accounts:
        record = accounts.pop(account)
        rules += _rule(record, "GrpSubmitJobs")
        account = record.get("ParentAccount", "").partition("(")[0]
    return rules


def qos_rules(records: str, policies: str, qos: str, uid: int, account: str) -> list[tuple[int, int]]:
    """Return (limit, how many are there) of a QOS: for all, for this user, for this account.

    The limits are those of sacctmgr (``policies``), since the controller tells a user's only once there is a job.
    """
    row = next((line.split("|") for line in policies.splitlines() if line.split("|")[0] == qos), ["", "", "", ""])
    found = re.search(rf"^QOS={re.escape(qos)}\(\d+\)\n(.*?)(?=^QOS=|\Z)", records, re.MULTILINE | re.DOTALL)
    text = found[1] if found else ""
    there = (
        _usage(text, "GrpSubmitJobs"),
        _usage(_of(text, "User Limits", rf"(?:\S*\()?{uid}\)?"), "MaxSubmitJobsPU"),
        _usage(_of(text, "Account Limits", re.escape(account)), "MaxSubmitJobsPA"),
    )
    return [(int(limit), count) for limit, count in zip(row[1:], there, strict=True) if limit.isdecimal()]


def whole_queue(records: str) -> int:
    """Return how many jobs of all users are in the queue: those of the association above all others."""
    top = [each for each in _associations(records) if not each["UserName"] and not each.get("ParentAccount")]
    return _usage(" ".join(f"{key}={value}" for each in top for key, value in each.items()), "GrpSubmitJobs")


def _associations(records: str) -> list[dict[str, str]]:
    text = records.partition("QOS Records")[0]
    parts = re.split(r"^(?=ClusterName=)", text, flags=re.MULTILINE)
    return [dict(re.findall(r"(\w+)=(\S*)", part)) for part in parts if part.startswith("ClusterName=")]


def _rule(record: dict[str, str], name: str) -> list[tuple[int, int]]:
    found = _LIMIT.fullmatch(record.get(name, ""))
    return [(int(found[1]), int(found[2]))] if found else []


def _usage(text: str, name: str) -> int:
    found = re.search(rf"\b{name}=\w*\((\d+)\)", text)
    return int(found[1]) if found else 0


def _of(text: str, heading: str, who: str) -> str:
    """Return the lines of one user or account below a heading of a QOS."""
    part = re.search(rf"{heading}\n(.*?)(?=\n    \S|\Z)", text, re.DOTALL)
    found = re.search(rf"^ +{who}\n((?: {{8,}}.*\n?)*)", part[1] if part else "", re.MULTILINE)
    return found[1] if found else ""
