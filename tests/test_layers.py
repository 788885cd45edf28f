"""The rule of the house: a room knows the rooms below it and none above, and run time knows nothing of tools."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support import PROJECT

# From the lowest room to the door.
ROOMS = (
    "base",
    "options",
    "dataset",
    "media",
    "store",
    "parallel",
    "model",
    "run",
    "report",
    "rehearse",
    "export",
    "execute",
    "calibrate",
    "regenerate",
    "score",
)
AT_THE_DOOR = {
    *("__init__.py", "py.typed"),
    *("api.py", "cancel.py", "download.py", "generate.py", "logs.py", "status.py"),
}
LONGEST = 300  # lines of a module


def modules(package: str) -> list[Path]:
    return sorted((PROJECT / package).rglob("*.py"))


@cache
def imported(path: Path) -> list[str]:
    """Full names of what a module imports, wherever in it the import stands."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def room_of(name: str) -> str | None:
    """The room of ``jobs.ROOM.module``; None for what lies elsewhere or at the door."""
    parts = name.split(".")
    return parts[1] if parts[0] == "jobs" and len(parts) > 1 and parts[1] in ROOMS else None


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_higher_one(room: str):
    for path in modules(f"jobs/{room}"):
        for name in imported(path):
            if name.startswith("jobs.") and name != "jobs.__version__":
                other = room_of(name)
                assert other, f"{path} imports {name}, which is at the door"
                assert ROOMS.index(other) <= ROOMS.index(room), f"{path} imports {name}, which is higher"


def test_every_module_is_in_a_room_or_at_the_door():
    assert {path.name for path in (PROJECT / "jobs").iterdir() if path.name != "__pycache__"} == AT_THE_DOOR | {*ROOMS}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("spectrum", ("jobs", "tools", "hydra")), ("jobs", ("tools", "tests")), ("hydra_plugins", ("tools", "tests"))],
)
def test_what_runs_knows_nothing_above_it(package: str, forbidden: tuple[str, ...]):
    for path in modules(package):
        for name in imported(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


# What other projects do not offer openly, and the one module that uses it with the reason.
PRIVATE = {
    "hydra._internal": "jobs/options/hydra_private.py",
    "diffusers.models._modeling_parallel": "jobs/parallel/diffusers_private.py",
}


@pytest.mark.parametrize(("name", "place"), PRIVATE.items())
def test_private_modules_are_used_in_one_place(name: str, place: str):
    users = [
        str(path.relative_to(PROJECT))
        for package in ("jobs", "spectrum", "hydra_plugins", "tools")
        for path in modules(package)
        if any(one == name or one.startswith(f"{name}.") for one in imported(path))
    ]
    assert users == [place]


@pytest.mark.parametrize("package", ["jobs", "spectrum", "tools", "hydra_plugins"])
def test_modules_stay_readable(package: str):
    assert {
        str(path): count for path in modules(package) if (count := len(path.read_text().splitlines())) > LONGEST
    } == {}


@pytest.mark.slow
def test_a_command_that_submits_or_looks_imports_no_network_library():
    """Which takes seconds and 200 MB: it may wait on a login node for days."""
    modules = "jobs.generate, jobs.execute.command, jobs.execute.sweep, jobs.status, jobs.logs, jobs.cancel"
    modules += ", jobs.score.command, jobs.report.__main__"
    said = f"import sys, {modules}; print(*{{'torch', 'diffusers', 'transformers'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
