"""Work that processes share part by part: nothing is made twice, and what a killed one left is made by another."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.store.parts import busy, share

context = multiprocessing.get_context("fork")


def never() -> bool:
    return False


def makers(log: Path, hang: str = "", reached: Any = None) -> dict[str, Callable[[], bytes]]:
    """Four parts, whose making is written down; one of them hangs for ever once it has said so."""

    def make(name: str) -> bytes:
        with open(log, "a") as file:
            file.write(name)
        if name == hang:
            reached.set()
            signal.pause()
        return name.encode() * 3

    return {name: (lambda name=name: make(name)) for name in "abcd"}  # type: ignore[misc]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "parts.lock"}


def work(folder: Path, log: Path, hang: str = "", reached: Any = None) -> None:
    assert share(folder, makers(log, hang, reached), enough=never, heard=lambda count: None)


def test_all_parts_are_made_once_and_then_read(tmp_path: Path):
    heard: list[int] = []
    first = share(tmp_path / "parts", makers(tmp_path / "log"), enough=never, heard=heard.append)
    again = share(tmp_path / "parts", makers(tmp_path / "log"), enough=never, heard=heard.append)
    assert first and again and contents(tmp_path / "parts") == {name: name.encode() * 3 for name in "abcd"}
    assert (tmp_path / "log").read_text() == "abcd" and heard == [0, 1, 2, 3, 4, 4]


def test_others_make_what_one_is_not_at_and_take_over_when_it_is_killed(tmp_path: Path):
    folder, log = tmp_path / "parts", tmp_path / "log"
    reached = context.Event()
    first = context.Process(target=work, args=(folder, log, "b", reached))
    first.start()
    assert reached.wait(30) and busy(folder)
    seen: list[int] = []

    def heard(count: int) -> None:
        seen.append(count)
        if count == 3:  # all but the one that the other holds
            assert first.pid
            os.kill(first.pid, signal.SIGKILL)

    assert share(folder, makers(log), enough=never, heard=heard)
    first.join()
    assert contents(folder) == {name: name.encode() * 3 for name in "abcd"}
    assert seen == [1, 2, 3, 4] and sorted(log.read_text()) == ["a", "b", "b", "c", "d"]
    assert not busy(folder)


def test_whoever_comes_when_it_is_enough_makes_nothing(tmp_path: Path):
    assert share(tmp_path / "parts", makers(tmp_path / "log"), enough=lambda: True, heard=lambda count: None) is False
    assert not (tmp_path / "log").exists()


def test_parts_that_are_taken_away_meanwhile_are_no_failure(tmp_path: Path):
    folder, gone = tmp_path / "parts", False

    def make() -> bytes:
        nonlocal gone
        (folder / "parts.lock").unlink()
        folder.rmdir()
        gone = True
        return b""

    assert share(folder, {"a": make}, enough=lambda: gone, heard=lambda count: None) is False


def test_a_folder_that_nobody_began_is_not_busy(tmp_path: Path):
    assert not busy(tmp_path / "none")
