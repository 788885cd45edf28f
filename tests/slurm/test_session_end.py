"""However a run of tests ends, the Slurm that it brought up ends with it: daemons, database, job steps and files."""

import signal
from pathlib import Path

import pytest

from tests.session.inner import inner_pytest
from tools.slurm.conf import DAEMONS

HELD = f"{Path(__file__).with_name('held.py')}::test_holds_a_cluster"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_cluster_ends_with_its_session(number: int, code: int, workers: tuple[str, ...]) -> None:
    with inner_pytest(HELD, *workers) as inner:
        told = inner.wait_until_ready()
        directory = Path(told["directory"])
        assert set(told["daemons"]) == set(DAEMONS)
        running = {process.pid for process in inner.processes()}
        assert running >= set(told["daemons"].values())
        assert inner.end(number) == code
        inner.assert_nothing_is_left()
        assert not directory.exists()
