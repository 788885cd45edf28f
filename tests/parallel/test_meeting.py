"""Where ranks meet, and that nobody else takes part: a real store on this machine."""

import json
import os
import socket
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs.base.errors import BadInput
from jobs.parallel import group
from jobs.parallel.group import Group, Torn
from jobs.parallel.introduce import introduce, misfit
from jobs.parallel.ranks import Member, Network
from jobs.parallel.sealed import Sealed
from tests.warm.forks import start


def test_what_ranks_say_is_sealed_and_a_strangers_word_is_not_taken(tmp_path: Path) -> None:
    first, second = (Member(rank, 2, rank, tmp_path / "meeting.json") for rank in range(2))
    server = first.host()
    meeting = tmp_path / "meeting.json"
    assert stat.S_IMODE(meeting.stat().st_mode) == 0o600
    told = [Sealed(*member.connect()) for member in (first, second)]
    told[0].set("call/1", "[0, 1]")
    assert told[1].get("call/1") == "[0, 1]"

    where = json.loads(meeting.read_text())
    stranger = Member(1, 2, 1, address=(where["host"], where["port"])).connect()[0]
    seen = stranger.get("call/1")
    assert where["secret"].encode() not in seen
    for forged in (b"[7]", seen[:64] + b"[7]", b"", b"\xff" * 70):
        stranger.set("call/1", forged)
        with pytest.raises(PermissionError, match="stranger"):
            told[1].get("call/1")
    stranger.set("call/2", seen)  # a true word, said again elsewhere
    with pytest.raises(PermissionError, match="call/2"):
        told[1].get("call/2")
    del server


def test_a_launchers_own_store_proves_nothing() -> None:
    class Plain(dict):
        def set(self, key: str, text: str) -> None:
            self[key] = text.encode()

    told = Sealed(Plain(), "")
    told.set("rank/0", "me")
    assert told.get("rank/0") == "me"


def test_rank_0_listens_where_it_may(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken, socket.socket() as unused:
        unused.bind(("", 0))
        busy, free = taken.getsockname()[1], unused.getsockname()[1]
        unused.close()
        network = Network.read("lo", f"{busy}-{busy}")
        member = Member(0, 2, 0, tmp_path / "meeting.json", one_machine=False, network=network)
        with pytest.raises(BadInput, match=f"rank_ports={busy}-{busy} are all in use"):
            member.host()
        network = Network.read("lo", f"{free}-{free + 50}")
        server = Member(0, 2, 0, tmp_path / "meeting.json", one_machine=False, network=network).host()
        assert free <= server.port <= free + 50
        assert json.loads((tmp_path / "meeting.json").read_text())["host"] == "127.0.0.1"


def test_the_interface_is_that_of_the_tensors_too(monkeypatch) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "own")
    Network("lo").choose()
    assert (os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]) == ("lo", "own")
    with pytest.raises(BadInput, match=r"rank_interface=ib7 is not an interface .* it has .*lo"):
        Network("ib7").address()


@pytest.mark.parametrize("ports", ["1", "a-b", "2-1", "0-9", "1-70000", "1-2-3"])
def test_ports_that_are_none_are_refused(ports: str) -> None:
    with pytest.raises(BadInput, match="rank_ports"):
        Network.read(None, ports)


def test_a_group_of_gpus_says_which_is_each_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no GPU here: what the libraries are told is written down."""
    told: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=device))
    monkeypatch.setattr(torch.cuda, "set_device", told.append)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, *, device_id, **_: told.extend((backend, device_id))
    )
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with Group(Member(0, 1, 1, tmp_path / "meeting.json"), device="cuda:1", digest="", on_loss=told.append):
        pass
    assert told == [torch.device("cuda:1"), "nccl", torch.device("cuda:1")]


def test_a_torn_exchange_ends_the_group_without_asking_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may have met the same error: if it passed, the next exchange would be taken for the rest of this one."""
    ended: list[str] = []

    def end(cause: str) -> None:
        ended.append(cause)
        raise SystemExit

    group = Group(Member(1, 2, 1), device="cpu", digest="", on_loss=ended.append)
    monkeypatch.setattr(group, "end", end)
    with pytest.raises(SystemExit), group.together():
        raise Torn("a tile is missing")
    assert ended == ["rank 1: Torn: a tile is missing"]


@pytest.mark.parametrize(
    ("ranks", "sentence"),
    [
        ([("cpu", "a"), ("cpu", "a")], None),
        ([("node1 GPU-0", "a"), ("node1 GPU-1", "a"), ("node2 GPU-0", "a")], None),
        ([("node1 GPU-0", "a"), ("node1 GPU-0", "a")], "2 ranks share 1 GPUs: give each rank a GPU of its own"),
        (
            [("cpu", "a"), ("cpu", "b")],
            "the ranks do not agree on what to do: their options, files or library versions differ",
        ),
    ],
)
def test_ranks_that_do_not_fit_together_are_told(ranks: list[tuple[str, str]], sentence: str | None):
    assert misfit([{"device": device, "digest": digest} for device, digest in ranks]) == sentence


def enter(rank: int, meeting: Path) -> None:
    """Be a rank of two that do not fit; rank 1 goes on only when rank 0 has left, and nobody can be met any more."""
    if rank == 1:

        def slow(*given: Any) -> Any:
            others = introduce(*given)
            while meeting.exists():
                time.sleep(0.01)
            return others

        group.introduce = slow  # type: ignore[assignment]
    with Group(Member(rank, 2, rank, meeting), device="cpu", digest=str(rank), on_loss=lambda cause: None):
        raise AssertionError("they do not fit together")


@pytest.mark.slow
def test_a_rank_that_is_slow_to_hear_of_the_end_leaves_too(tmp_path: Path) -> None:
    ranks = [start(enter, rank, tmp_path / "meeting.json") for rank in (0, 1)]
    for each in ranks:
        each.join(200)  # ten minutes, if it waits for the others to meet again
    assert [each.exitcode for each in ranks] == [group.LEFT_BEHIND] * 2
