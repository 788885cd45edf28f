"""A command that is forked is the process that it would be if it were started: else tests of commands prove less."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import warm

# Says what a process sees of itself; "-m" finds it in the working directory or on PYTHONPATH.
TELL = """
import json, multiprocessing, os, signal, sys
import first_import
seen = {
    "argv": sys.argv[1:], "name": __name__, "cwd": os.getcwd(), "path": sys.path, "parent": os.getppid(),
    "session": os.getsid(0) == os.getpid(), "group": os.getpgid(0), "input": sys.stdin.read(),
    "environment": dict(os.environ), "customized": getattr(sys, "customized", 0),
    "ours": [name for name in sys.modules if name.partition(".")[0] in ("jobs", "spectrum")],
    "open": sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) < 200),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "terminate": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    "first": first_import.VALUE, "torch": "torch" in sys.modules,
}
print(json.dumps(seen))
print("said", file=sys.stderr)
sys.exit(5)
"""
# Its worker says where it comes from, and of two signals how it takes them.
POOL = """
import multiprocessing, multiprocessing.resource_tracker, os, signal, sys

def work(pipe):
    customized = getattr(sys, "customized", 0)
    signals = signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGHUP).name
    seen = os.environ["LATE"], os.getcwd(), customized, "torch" in sys.modules, *signals
    pipe.send((os.getpid(), os.getppid(), *seen))

if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    os.environ["LATE"] = "set by the command"
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.resource_tracker.ensure_running()  # which unblocks signals
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker = multiprocessing.Process(target=work, args=(theirs,))
    worker.start()
    theirs.close()
    pid, server, *seen = ours.recv()
    worker.join()
    with open(f"/proc/{server}/stat") as stat:
        grandparent = int(stat.read().rpartition(")")[2].split()[1])
    print(pid == worker.pid, grandparent == os.getpid(), *seen, worker.exitcode, sep="|")
"""
WAIT = "import pathlib, time; pathlib.Path('began').touch(); time.sleep(600)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "tell": TELL,
        "pool": POOL,
        "waits": WAIT,
        "raises": "raise ValueError('no')",
        "first_import": "VALUE = 7",
        "sitecustomize": "import sys; sys.customized = getattr(sys, 'customized', 0) + 1",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def words(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def told(popen: type[subprocess.Popen], folder: Path, **more: Any) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{os.environ['PYTHONPATH']}", "OWN": "value"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with popen(words("tell", "a b", ""), env=environment, cwd=folder, text=True, **pipes, **more) as process:
        output, errors = process.communicate("what it reads", timeout=60)
    assert (process.returncode, errors) == (5, "said\n")
    return json.loads(output)


@pytest.mark.parametrize("more", [{}, {"start_new_session": True}], ids=["plain", "session"])
def test_it_sees_what_a_started_process_sees(folder: Path, more: dict[str, Any]) -> None:
    forked, started = told(warm.Popen, folder, **more), told(subprocess.Popen, folder, **more)
    assert forked.pop("torch") and not started.pop("torch")
    if more:
        assert forked.pop("group") != started.pop("group")  # each leads its own
    else:
        assert forked["group"] == os.getpgid(0)
    assert forked == started
    assert forked["parent"] == os.getpid() and forked["customized"] == 1


def test_our_modules_are_at_hand_where_it_would_find_the_same(folder: Path) -> None:
    (folder / "asks.py").write_text(
        "import sys; early = 'jobs.execute.worker' in sys.modules; import jobs; from jobs.base import times; "
        "print(early, jobs.__file__, times.PATIENCE)"
    )
    ours = Path(__file__).parents[1] / "jobs" / "__init__.py"
    assert warm.run(words("asks"), cwd=folder).stdout == f"True {ours} 1.0\n"
    patient = warm.run(words("asks"), cwd=folder, env={**os.environ, "JOBS_PATIENCE": "3"})
    assert patient.stdout == f"False {ours} 3.0\n"
    other = folder / "jobs"
    (other / "base").mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "base" / "times.py").write_text("PATIENCE = 'another'")
    assert warm.run(words("asks"), cwd=folder).stdout == f"False {other / '__init__.py'} another\n"


def test_its_workers_are_those_of_a_started_process(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    forked = warm.run(words("pool"), cwd=folder, env=environment, timeout=60)
    assert forked.stdout == f"True|True|set by the command|{folder}|1|True|True|SIG_IGN|0\n", forked.stderr
    started = subprocess.run(words("pool"), cwd=folder, env=environment, timeout=60, capture_output=True, text=True)
    assert started.stdout == f"True|True|set by the command|{folder}|1|False|True|SIG_IGN|0\n", started.stderr


def test_an_error_is_printed_as_ever(folder: Path) -> None:
    ended = warm.run(words("raises"), cwd=folder)
    assert ended.returncode == 1 and ended.stderr.endswith("ValueError: no\n")
    assert warm.run(words("nothing.at.all")).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_signals_end_it(folder: Path, number: signal.Signals) -> None:
    process = warm.Popen(words("waits"), cwd=folder, stderr=subprocess.DEVNULL)
    while not (folder / "began").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == -number
    assert not psutil.pid_exists(process.pid)


def test_what_libraries_read_once_takes_an_interpreter(folder: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": str(folder)}
    code = "import huggingface_hub.constants as it; print(it.ENDPOINT)"
    (folder / "reads.py").write_text(code)
    assert warm.run(words("reads"), env=environment).stdout == "http://127.0.0.1:1\n"


@pytest.mark.slow
def test_libraries_that_have_read_another_environment_are_at_hand(folder: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": str(folder)}
    (folder / "reads.py").write_text(
        "import sys; early = 'torch' in sys.modules; import huggingface_hub.constants as it; print(early, it.ENDPOINT)"
    )
    with warm.imported_in(environment):
        assert warm.run(words("reads"), env=environment).stdout == "True http://127.0.0.1:1\n"
    assert warm.run(words("reads"), env=environment).stdout == "False http://127.0.0.1:1\n"
