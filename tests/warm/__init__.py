"""Commands of tests without their start: forks of a process that has the libraries, in place of fresh interpreters.

A fresh ``python -m jobs.generate`` spends most of its processor time on importing torch, diffusers and transformers,
and its workers spend it again. ``Popen`` and ``run`` take the words of such a command and have it forked from a process
that has imported them and our modules (``tests.warm.server``). What they start is a child of this process in every way:
its own pid, environment, working directory, standard streams, signals and exit code; it imports ``sitecustomize`` and
what else is missing, our modules too where it would find others or read another environment in them, and ends as an
interpreter does. It only has the hash seed of
the process that it was forked from. A command whose environment says something to libraries while they are imported
gets an interpreter of its own, except within ``imported_in``.
"""

import contextlib
import ctypes
import inspect
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

# The environment in which the libraries are imported.
_environment: dict[str, str] = {}
# Variables that an interpreter or a library reads once.
_READ_ONCE = (
    *("ACCELERATE_", "CUDA_", "DIFFUSERS_", "HF_", "HOME", "HUGGINGFACE_", "LC_", "LD_", "MKL_", "OMP_", "PYTHON"),
    *("PYTORCH_", "TORCH", "TRANSFORMERS_", "TZ", "USE_", "XDG_"),
)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h


def _read_once(environment: dict[str, str]) -> dict[str, str]:
    told = {name: value for name, value in environment.items() if name.startswith(_READ_ONCE)}
    # The first is done as at a start, and the second set by torch itself, when its compiler is imported.
    return {name: value for name, value in told.items() if name not in ("PYTHONPATH", "TORCHINDUCTOR_CACHE_DIR")}


class _Server:
    """This process's end of a server that imports the libraries in an environment; it ends with this process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.owner = os.getpid()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Return the pid of a new child of this process that does what is asked."""
        message = pickle.dumps(request)
        with _adopting_orphans():
            self.socket.send(len(message).to_bytes(8, "little"))
            socket.send_fds(self.socket, [message], streams)
            answer = self.socket.recv(8)
        if not answer:
            raise RuntimeError("the process with the libraries has ended")
        return int.from_bytes(answer, "little")

    def end(self) -> None:
        self.socket.close()
        self.process.wait()


_server: _Server | None = None
_others: list[tuple[dict[str, str], _Server]] = []  # each with what its libraries have read


def begin() -> None:
    """Note the environment of this session, before any test changes it."""
    _environment.update(os.environ)


def _server_for(environment: dict[str, str]) -> _Server | None:
    """Return the server whose libraries have read what they would read in this environment; None where none has."""
    global _server
    asked = _read_once(environment)
    for read, server in _others:
        if asked == read:
            return server
    if asked != _read_once(_environment):
        return None
    if _server is None or _server.owner != os.getpid():
        _server = _Server(_environment)
    return _server


@contextlib.contextmanager
def imported_in(environment: dict[str, str]) -> Iterator[None]:
    """Have a process import the libraries in another environment too, for several commands that ask for it."""
    server = _Server(environment)
    _others.append((_read_once(environment), server))
    try:
        yield
    finally:
        _others.pop()
        server.end()


def end() -> None:
    """End this process's server, if it has one."""
    global _server
    if _server and _server.owner == os.getpid():
        _server.end()
    _server = None


@contextlib.contextmanager
def _adopting_orphans() -> Any:
    """Make this process the parent of what its descendants leave behind: the server's grandchild becomes its child."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    try:
        yield
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)


class Popen(subprocess.Popen):
    """``subprocess.Popen`` of ``[sys.executable, "-m", MODULE, ...]``."""

    def _execute_child(self, *given: Any) -> None:
        """Start the process; all else that ``subprocess.Popen`` does needs its pid only."""
        asked = inspect.signature(super()._execute_child).bind(*given).arguments
        words, environment = asked["args"], dict(asked["env"] or os.environ)
        if words[:2] != [sys.executable, "-m"]:
            raise ValueError(f"not a command of {sys.executable} -m: {words}")
        if not (server := _server_for(environment)):
            super()._execute_child(*given)
            return
        request = {
            "words": words[2:],
            "cwd": os.path.abspath(asked["cwd"] or "."),
            "environment": environment,
            "new_session": asked["start_new_session"],
        }
        pipes = [asked[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        streams = [pipes[0], pipes[3], pipes[5]]
        self.pid = server.fork(request, [number if own < 0 else own for number, own in enumerate(streams)])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(words: list[str], *, timeout: float | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed, as ``subprocess.run(capture_output=True, text=True)``."""
    with Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, output, errors)
