"""Which rank of which group this process is, and where the group's ranks find each other."""

import contextlib
import datetime
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jobs.base.errors import BadInput
from jobs.base.times import MEET
from jobs.options.degrees import Degrees
from jobs.options.schema import Options
from jobs.store.atomic import write_bytes

_WAIT = datetime.timedelta(seconds=60)


@dataclass(frozen=True)
class Network:
    """Over what ranks on several machines meet.

    Attributes:
        interface: name of a network interface that all of them have; None: whichever their host names lead to.
        ports: first and last one that rank 0 may listen on; None: any.
    """

    interface: str | None = None
    ports: tuple[int, int] | None = None

    @classmethod
    def read(cls, interface: str | None, ports: str | None) -> "Network":
        """Return it as the options ``rank_interface`` and ``rank_ports`` say it.

        Raises:
            BadInput: the ports are not two numbers in order.
        """
        if ports is None:
            return cls(interface)
        numbers = [int(part) if part.isdecimal() else 0 for part in ports.split("-")]
        if len(numbers) != 2 or not 0 < numbers[0] <= numbers[1] < 65536:
            raise BadInput(f"rank_ports={ports} must be two ports, the first and the last, like 29500-29599")
        return cls(interface, (numbers[0], numbers[1]))

    def choose(self) -> None:
        """Have the libraries that move tensors use the interface, unless the environment says otherwise."""
        if self.interface:
            for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
                os.environ.setdefault(name, self.interface)

    def address(self) -> str:
        """Return this machine's address, or name, for the others.

        Raises:
            BadInput: it has no such interface.
        """
        if not self.interface:
            return socket.gethostname()
        there = psutil.net_if_addrs()
        for kind in (socket.AF_INET, socket.AF_INET6):
            for address in there.get(self.interface, ()):
                if address.family == kind:
                    return str(address.address)
        raise BadInput(
            f"rank_interface={self.interface} is not an interface of {socket.gethostname()} with an address: "
            f"it has {', '.join(sorted(there))}"
        )


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
        network: over which they meet, where they are on several machines.
    """

    rank: int
    size: int
    local_rank: int
    meeting: Path | None = None
    address: tuple[str, int] | None = None
    one_machine: bool = True
    round: str = ""
    network: Network = Network()

    def host(self) -> Any:
        """Rank 0's end of the store: on a free port, told to the others through a file that only their user can read.

        Raises:
            BadInput: no port of the range is free, or the interface is not there.
        """
        if self.address:
            return self.connect()[0]
        assert self.meeting
        name = "127.0.0.1" if self.one_machine else self.network.address()
        store = self._listen(name)
        content = {"host": name, "port": store.port, "secret": secrets.token_hex(32)}
        write_bytes(self.meeting, json.dumps(content).encode(), mode=0o600)
        return store

    def _listen(self, name: str) -> Any:
        from torch.distributed import TCPStore

        first, last = self.network.ports or (0, 0)
        for port in range(first, last + 1):
            try:
                return TCPStore(name, port, is_master=True, timeout=_WAIT, wait_for_workers=False)
            except RuntimeError as error:
                if not self.network.ports or "EADDRINUSE" not in str(error):
                    raise
        raise BadInput(f"rank_ports={first}-{last} are all in use on {socket.gethostname()}: give others")

    def connect(self) -> tuple[Any, str]:
        """A client of the store (one socket, for one thread), and the group's secret.

        Raises:
            TimeoutError: rank 0 did not come.
        """
        from torch.distributed import TCPStore

        deadline = time.monotonic() + MEET
        while True:
            try:
                host, port, secret = (*self.address, "") if self.address else self._read_meeting()
                return TCPStore(host, port, is_master=False, timeout=_WAIT, wait_for_workers=False), secret
            except (OSError, RuntimeError) as error:  # no file yet, or torch's own words for no answer
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no word of rank 0 within {MEET:.0f} seconds: {error}") from error
                time.sleep(0.1)

    def _read_meeting(self) -> tuple[str, int, str]:
        assert self.meeting
        os.listdir(self.meeting.parent)  # makes a network file system look again
        where = json.loads(self.meeting.read_text())
        return where["host"], where["port"], where["secret"]

    def met(self) -> None:
        """All ranks are there: the file has served."""
        if self.meeting and self.rank == 0:
            with contextlib.suppress(FileNotFoundError):
                self.meeting.unlink()


def launched_member(degrees: Degrees, folder: Path, network: Network = Network()) -> Member | None:
    """This process's place, where a launcher (Submitit, torchrun) started one process a rank; else None.

    Args:
        degrees: what was asked for.
        folder: a directory that all ranks see, for their meeting.
        network: over which they meet.

    Raises:
        BadInput: the launcher started another number of ranks.
    """
    if "SUBMITIT_EXECUTOR" in os.environ:
        return _submitit_member(degrees, folder, network)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _torchrun_member(degrees)
    return None


def _submitit_member(degrees: Degrees, folder: Path, network: Network) -> Member | None:
    import submitit

    job = submitit.JobEnvironment()
    size = degrees.size
    if size == 1 or job.num_tasks == 1:  # each process works alone, or starts the ranks itself
        return None
    if job.num_tasks % size:
        _check_number(job.num_tasks, degrees, "this task")
    group, rank = divmod(job.global_rank, size)
    meeting = folder / f"group-{job.job_id}-{os.environ.get('SLURM_RESTART_COUNT', 0)}-{group}.json"
    return Member(rank, size, job.local_rank, meeting, one_machine=job.num_nodes == 1, network=network)


def network_of(options: Options) -> Network:
    """Return over what the ranks of a run meet.

    Raises:
        BadInput: see ``Network.read``.
    """
    return Network.read(options.rank_interface, options.rank_ports)


def launched_share(degrees: Degrees) -> tuple[int, int, int]:
    """Return which part of its task's shards this process is for, of how many parts, and its number on this machine."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return 0, 1, 0
    import submitit

    job = submitit.JobEnvironment()
    parts = max(1, job.num_tasks // degrees.size)
    return job.global_rank // degrees.size % parts, parts, job.local_rank


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
