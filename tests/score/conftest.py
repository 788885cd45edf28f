"""What the tests of scoring share: a run made without a model, and a folder for a user's modules."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.export.runs import finished_run, lines


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Twelve samples in three shards, one of them given up."""
    return finished_run(tmp_path, lines(12), fails={3: "ValueError: no"}).directory.path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for modules of the user, which is the working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("mine", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
