"""A test session's own environment and folders, the same on every machine, and their end with the session."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.guardian import MARKER

PROJECT = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")
WORKER = "PYTEST_XDIST_WORKER"

# Where programs, libraries and GPUs of this machine are; everything else is the same for all.
KEPT = ("PATH", "LD_LIBRARY_PATH", "CC", "CXX", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "USER", "LOGNAME")
# What somebody asks of one test by hand, and what coverage.py tells the processes that it measures.
KEPT_PREFIXES = ("RANK_KILLS", "COVERAGE_")


@dataclass(frozen=True)
class Session:
    """What one run of pytest, with all of its xdist workers, has for itself.

    Attributes:
        folder: Holds every temporary file, the home directory and the caches.
        memory: Holds what is too slow on a disk that syncs; the same as ``folder`` where memory is short.
        cwd: This process's working directory while tests run, an empty folder.
        guardian: Ends the session's processes; None in an xdist worker, whose controller has it.
    """

    folder: Path
    memory: Path
    cwd: Path
    guardian: subprocess.Popen[bytes] | None

    def end(self) -> None:
        """Have the guardian end whatever still runs, so that nothing keeps this process from exiting."""
        if self.guardian and self.guardian.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.guardian.stdin.write(b"\n")
                self.guardian.stdin.close()
            self.guardian.returncode = 0  # it outlives this process, so nobody waits for it


def enter() -> Session:
    """Make the session's folders and environment, or join those of the xdist controller that started this process.

    To be called before anything reads the environment, as torch and huggingface_hub do when they are imported.
    """
    if WORKER in os.environ:
        guardian = None
        _clean_environment(Path(os.environ["TMPDIR"]), "PYTEST_", MARKER)
    else:
        guardian = _begin()
    tempfile.tempdir = None  # was perhaps found before TMPDIR changed
    folder = Path(os.environ["TMPDIR"])
    memory = MEMORY / folder.name
    cwd = folder / "cwd" / os.environ.get(WORKER, "main")
    cwd.mkdir(parents=True)
    return Session(folder, memory if memory.exists() else folder, cwd, guardian)


def _begin() -> subprocess.Popen[bytes]:
    folder = Path(tempfile.mkdtemp(prefix="jobs-")).resolve()
    folders = [folder]
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1 << 30:
        folders += [MEMORY / folder.name]
    token = secrets.token_hex(8)
    # The guardian does not get the marker of a session around this one, which would end it too early.
    around = os.environ.pop(MARKER, None)
    guardian = subprocess.Popen(
        [sys.executable, "-IS", str(Path(__file__).with_name("guardian.py")), str(os.getpid()), token, *folders],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for each in folders:
        each.mkdir(mode=0o700, exist_ok=True)
    _clean_environment(folder)
    os.environ[MARKER] = f"{around}:{token}" if around else token
    return guardian


def _clean_environment(folder: Path, *more: str) -> None:
    prefixes = (*KEPT_PREFIXES, *more)
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith(prefixes)}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    same_everywhere = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "HF_HOME": str(home / ".cache" / "huggingface"),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(PROJECT),  # processes that tests start import this copy, wherever they work
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "COLUMNS": "80",  # readline would tell processes that are started the size of the terminal
        "LINES": "24",
        "OMP_NUM_THREADS": "1",  # sums depend on the number of threads, and xdist has a process for each core
    }
    os.environ.clear()
    os.environ.update(kept | same_everywhere)
