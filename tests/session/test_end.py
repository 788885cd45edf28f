"""However a run of tests ends, its processes and its folders end with it."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.session.inner import inner_pytest, witness_file

CASES = Path(__file__).with_name("cases.py")
HOLDS = f"{CASES}::test_holds_processes"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_sigterm_ends_a_run_in_good_order(workers: tuple[str, ...]) -> None:
    with inner_pytest(HOLDS, *workers) as inner:
        pids = inner.wait_until_ready()["pids"]
        assert {process.pid for process in inner.processes()} > set(pids)
        assert inner.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert witness_file(inner.folder).exists()
        inner.assert_nothing_is_left()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_sigkill_leaves_nothing(workers: tuple[str, ...]) -> None:
    with inner_pytest(HOLDS, *workers) as inner:
        pids = inner.wait_until_ready()["pids"]
        assert all(map(psutil.pid_exists, pids))
        assert inner.end(signal.SIGKILL) == -signal.SIGKILL
        inner.assert_nothing_is_left()


def test_only_the_own_session_ends() -> None:
    """A session that ends leaves this one, which is around it, and one beside it alone."""
    with inner_pytest(HOLDS) as first, inner_pytest(HOLDS) as second:
        first.wait_until_ready()
        pids = second.wait_until_ready()["pids"]
        first.end(signal.SIGKILL)
        first.assert_nothing_is_left()
        assert second.process.poll() is None
        assert {process.pid for process in second.processes()} > set(pids)
        assert Path(os.environ["TMPDIR"]).is_dir()
        second.end(signal.SIGKILL)
        second.assert_nothing_is_left()
