"""A real Slurm for the tests of this directory; without Slurm's programs they are left out."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolation import Session
from tools.slurm import INSTALL, Cluster, missing_programs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave this directory's tests out, with the reason, where Slurm is not installed."""
    missing = missing_programs()
    if not missing:
        return
    here = Path(__file__).parent
    reason = f"needs a real Slurm: run `{INSTALL}` (missing: {', '.join(missing)})"
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def slurm(test_session: Session) -> Iterator[Cluster]:
    """A cluster of two nodes with two pretended GPUs each, in its own directory."""
    # In memory, since most of the time until it is up goes into syncing an empty database to the disk. And not in
    # pytest's own temporary directory: its path may be too long for a socket's.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir=test_session.memory, ignore_cleanup_errors=True) as directory:
        cluster = Cluster(directory)
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.down()


@pytest.fixture
def slurm_env(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The same cluster, for code that finds Slurm by the environment."""
    monkeypatch.setenv("JOBS_PATIENCE", "0.5")  # looks at the queue twice as often
    for name, value in slurm.env().items():
        monkeypatch.setenv(name, value)
    return slurm
