"""Exports that are killed at any instant, by real signals, end in the bytes of one that was not."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from jobs.export import formats, tars
from jobs.export import work as work_module
from jobs.store import atomic
from tests.export.runs import finished_run, lines
from tests.export.test_export import files
from tests.warm.forks import start

KILLS = 10
CALLS = 200  # to the disk, before which an attempt dies; a whole export of these takes about as many
STRIDE = 11  # calls to the disk between deaths; no multiple of what one file takes
OPTIONS = ["split=0.8,0.2", "shard_mb=0.02", "energon=false"]


def export_all(runs: list[Path], dest: Path, options: list[str], die_at: int | None = None) -> None:
    """One attempt at an export; ``die_at``: kill itself at that call to the disk."""
    from jobs.export.__main__ import main

    if die_at is not None:
        _die_at(die_at)
    main([*map(str, runs), str(dest), *options])


def _die_at(count: int) -> None:
    """Kill this process just before or just after its n-th fsync, rename or link."""
    calls = 0

    def deadly(function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            for step in (lambda: None, lambda: function(*arguments, **keywords)):
                result = step()
                nonlocal calls
                calls += 1
                if calls == count:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    names = ("fsync", "replace", "link", "rename")
    patched = type("os", (), {**vars(os), **{name: deadly(getattr(os, name)) for name in names}})
    for module in (atomic, tars, work_module, formats):
        module.os = patched  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs whose keys collide, one of them with a sample that was given up."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        finished_run(folder / "a", lines(23), "exp_name=a", fails={7: "ValueError: no"}).directory.path,
        finished_run(folder / "b", lines(11, 15), "exp_name=b").directory.path,
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["webdataset", "imagefolder"])
def test_exports_that_are_killed_again_and_again_end_in_the_same_bytes(runs, tmp_path, form) -> None:
    options = [f"format={form}", *(OPTIONS if form == "webdataset" else OPTIONS[:1])]
    export_all(runs, tmp_path / "whole", options)
    dice, kills, exports = random.Random(5), 0, 0
    while kills < KILLS // 2:
        dest = tmp_path / f"export{exports}"
        exports += 1
        while not dest.exists():
            process = start(export_all, runs, dest, options, dice.randint(1, CALLS))
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
            kills += process.exitcode != 0
        export_all(runs, dest, options)  # also where the last kill was just after all was there
        assert files(dest) == files(tmp_path / "whole")
        assert not list(tmp_path.glob("*.partial"))


@pytest.mark.timeout(300)
def test_a_kill_around_its_writes_ends_in_the_same_bytes(runs, tmp_path) -> None:
    """Dies before or after a call to the disk, a few further on each time; the next command makes the whole of it."""
    export_all(runs[:1], tmp_path / "whole", OPTIONS)
    died, step = 0, 1
    while True:
        dest = tmp_path / f"step{step}"
        process = start(export_all, runs[:1], dest, OPTIONS, step)
        process.join()
        if process.exitcode == 0:
            break  # the export takes fewer calls than this
        assert process.exitcode == -signal.SIGKILL
        export_all(runs[:1], dest, OPTIONS)
        assert files(dest) == files(tmp_path / "whole")
        assert not list(tmp_path.glob("*.partial"))
        died, step = died + 1, step + STRIDE
    assert died * STRIDE > 60
