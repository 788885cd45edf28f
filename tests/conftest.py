"""Isolation of the tests: from the machine, from one another, and of the machine from them."""

import gc
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests import warm
from tests.isolation import Session, enter

if TYPE_CHECKING:
    from tests.s3 import S3

# Here and not in a hook: conftest files further down import torch before the first hook is called.
SESSION = enter()
# Started in the background or by nohup, a process ignores these, and so would all that tests start.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)
warm.begin()

# Folders below this one, and files, whose tests start many processes or share one Slurm: those of a group run one after
# another. The groups run beside each other, since much of their time is waiting.
SERIAL = {
    "slurm": "slurm",
    "session": "slurm",
    "parallel": "ranks",
    "test_kills.py": "processes",
    "test_score_commands.py": "processes",
    "test_store.py": "processes",
    "test_machines.py": "processes",
    "test_calibration.py": "processes",  # also for the fork server, which the others have
}
# Likewise: what `make test` leaves out, beside single tests that are marked.
SLOW = (
    *(
        "session",
        "slurm",
        "test_kills.py",
        "test_score_commands.py",
        "test_store.py",
        "test_context_parallel.py",
        "test_lost_ranks.py",
        "test_runs.py",
    ),
    *("test_parallel.py", "benchmarks", "test_examples.py", "test_compile.py", "test_training.py", "test_kinds.py"),
    *("test_offload.py", "test_embedded_unet.py", "test_provenance.py", "test_stored_runs.py", "test_machines.py"),
)
# Whose many small tensors a tracer slows down to twice the time: other tests reach the same lines.
UNTRACED = (
    *("test_families.py", "test_kinds.py", "test_odd_families.py", "test_lora.py", "test_offload.py"),
    *("test_embedded_image.py", "test_embedded_video.py", "test_pipeline.py", "benchmarks"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of slow tests; make SIGTERM an orderly end, with fixtures torn down and a non-zero exit code."""
    config.addinivalue_line("markers", "slow: left out by `make test`")
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a fork of this process has no session to end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if config.pluginmanager.hasplugin("dsession"):
            # An xdist controller runs no tests: all of its children but the guardian are workers, and it would
            # wait long for those in the middle of a test.
            for child in psutil.Process().children():
                if SESSION.guardian and child.pid != SESSION.guardian.pid:
                    child.terminate()
        signal.signal(number, signal.SIG_DFL)  # the second one ends this process at once
        pytest.exit("ended by SIGTERM", returncode=128 + number)

    signal.signal(signal.SIGTERM, stop)


@pytest.hookimpl(tryfirst=True)  # before -m reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow and of untraced files, and begin with what takes longest as a whole.

    That is the serial groups, and then files with slow tests: at the end, short ones keep all workers busy.
    """
    for item in items:
        if item.path.parent.name in SLOW or item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)
        if item.path.parent.name in UNTRACED or item.path.name in UNTRACED:
            item.add_marker(pytest.mark.no_cover)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not serial_group(item.path), item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist loadfile, give all files of a serial group to one worker, and the others file by file.

    The marks that --dist loadgroup reads would do, but xdist 3.8 does not see them with pytest 9.2.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return serial_group(Path(file)) or file

    return Scheduling(config, log)


def serial_group(path: Path) -> str | None:
    """Return the group of a file whose tests must not run beside their like; None for all others."""
    return SERIAL.get(path.parent.name) or SERIAL.get(path.name)


def pytest_collection_finish() -> None:
    """Spare what has been imported by now from the collector, which would go through it again and again."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """End the processes that tests left, so that none of them keeps pytest from exiting."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for child in multiprocessing.active_children():  # an xdist worker would wait for its own until it is killed
        child.kill()
    warm.end()
    SESSION.end()


@pytest.fixture(scope="session", autouse=True)
def test_session() -> Iterator[Session]:
    """This session's folders; while its tests run, the working directory is an empty one of them."""
    before = os.getcwd()
    os.chdir(SESSION.cwd)
    yield SESSION
    os.chdir(before)  # plugins write their reports relative to it


@pytest.fixture(scope="session")
def s3_server() -> Iterator["S3"]:
    """An S3 server for all tests of this process that ask for one."""
    from tests.s3 import S3  # not above: few sessions need it

    server = S3()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: "S3", monkeypatch: pytest.MonkeyPatch) -> Iterator["S3"]:
    """That server with an empty bucket; this process's environment leads there."""
    from jobs.store import place
    from tests.s3 import BUCKET

    client = s3_server.client()
    client.create_bucket(Bucket=BUCKET)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    place._remote.cache_clear()  # clients keep the environment that they were made in
    s3_server.requests.clear()
    yield s3_server
    s3_server.forbid = lambda method: False
    s3_server.before, s3_server.garble = lambda method, path: None, lambda path, data: data
    for key in s3_server.objects(BUCKET):
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture(autouse=True)
def _nothing_is_left(test_session: Session) -> Iterator[None]:
    """Put environment and working directory back after each test, and fail one that left files there."""
    environment = dict(os.environ)
    yield
    os.chdir(test_session.cwd)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    if left := sorted(entry.name for entry in test_session.cwd.iterdir()):
        shutil.rmtree(test_session.cwd)
        test_session.cwd.mkdir()
        os.chdir(test_session.cwd)
        pytest.fail(f"the test left {', '.join(left)} in the working directory")
