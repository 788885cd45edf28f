"""Which rank of which group this process is, and where the group's ranks find each other."""

import contextlib
import datetime
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.base.times import MEET
from jobs.options.degrees import Degrees
from jobs.store.atomic import write_json

_WAIT = datetime.timedelta(seconds=60)


@dataclass(frozen=True)
class Member:
    """One rank's place in its group.

    Attributes:
        rank: from 0; rank 0 leads.
        size: ranks of the group.
        local_rank: number among the group's ranks on this machine, which chooses the GPU.
        meeting: a file in which rank 0 says where it listens; None where ``address`` says so.
        address: host and port of a store that a launcher (torchrun) keeps.
        one_machine: whether all ranks are on this machine.
        round: tells the group from earlier ones that met at the same address.
    """

    rank: int
    size: int
    local_rank: int
    meeting: Path | None = None
    address: tuple[str, int] | None = None
    one_machine: bool = True
    round: str = ""

    def host(self) -> Any:
        """Rank 0's end of the store: on a port that the system finds free, told to the others through a file."""
        if self.address:
            return self.connect()
        from torch.distributed import TCPStore

        assert self.meeting
        name = "127.0.0.1" if self.one_machine else socket.gethostname()
        store = TCPStore(name, 0, is_master=True, timeout=_WAIT, wait_for_workers=False)
        write_json(self.meeting, {"host": name, "port": store.port})
        return store

    def connect(self) -> Any:
        """A client of the store: one socket, for one thread.

        Raises:
            TimeoutError: rank 0 did not come.
        """
        from torch.distributed import TCPStore

        deadline = time.monotonic() + MEET
        while True:
            try:
                host, port = self.address or self._read_meeting()
                return TCPStore(host, port, is_master=False, timeout=_WAIT, wait_for_workers=False)
            except (OSError, RuntimeError) as error:  # no file yet, or torch's own words for no answer
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no word of rank 0 within {MEET:.0f} seconds: {error}") from error
                time.sleep(0.1)

    def _read_meeting(self) -> tuple[str, int]:
        assert self.meeting
        os.listdir(self.meeting.parent)  # makes a network file system look again
        where = json.loads(self.meeting.read_text())
        return where["host"], where["port"]

    def met(self) -> None:
        """All ranks are there: the file has served."""
        if self.meeting and self.rank == 0:
            with contextlib.suppress(FileNotFoundError):
                self.meeting.unlink()


def launched_member(degrees: Degrees, folder: Path) -> Member | None:
    """This process's place, where a launcher (Submitit, torchrun) started one process a rank; else None.

    Args:
        degrees: what was asked for.
        folder: a directory that all ranks see, for their meeting.

    Raises:
        BadInput: the launcher started another number of ranks.
    """
    if "SUBMITIT_EXECUTOR" in os.environ:
        return _submitit_member(degrees, folder)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _torchrun_member(degrees)
    return None


def _submitit_member(degrees: Degrees, folder: Path) -> Member | None:
    import submitit

    job = submitit.JobEnvironment()
    size = degrees.size
    if size == 1 or job.num_tasks == 1:  # each process works alone, or starts the ranks itself
        return None
    if job.num_tasks % size:
        _check_number(job.num_tasks, degrees, "this task")
    group, rank = divmod(job.global_rank, size)
    meeting = folder / f"group-{job.job_id}-{os.environ.get('SLURM_RESTART_COUNT', 0)}-{group}.json"
    return Member(rank, size, job.local_rank, meeting, one_machine=job.num_nodes == 1)


def launched_share(degrees: Degrees) -> tuple[int, int, int]:
    """Return which part of its task's shards this process is for, of how many parts, and its number on this machine."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return 0, 1, 0
    import submitit

    job = submitit.JobEnvironment()
    parts = max(1, job.num_tasks // degrees.size)
    return (job.global_rank // degrees.size if parts > 1 else 0), parts, job.local_rank


def _torchrun_member(degrees: Degrees) -> Member | None:
    value = os.environ
    size, here = int(value["WORLD_SIZE"]), int(value["LOCAL_WORLD_SIZE"])
    _check_number(size, degrees, "torchrun")
    if size == 1:
        return None
    return Member(
        int(value["RANK"]),
        size,
        int(value["LOCAL_RANK"]),
        address=(value["MASTER_ADDR"], int(value["MASTER_PORT"])),
        one_machine=size == here,
        round=value.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def _check_number(ranks: int, degrees: Degrees, who: str) -> None:
    if ranks != degrees.size:
        raise BadInput(
            f"{who} has {ranks} ranks and {degrees} makes {degrees.size}: "
            "let the degrees' product be the number of ranks"
        )
