"""A process that imports the libraries once and forks what is asked for: ``python -m tests.warm.server FD``.

Each message on the socket ``FD`` is a pickled request with three file descriptors, the standard streams. The answer is
the pid of a process that was forked for it and is an orphan: whoever asked has made itself its new parent. The server
ends when nobody holds the other end any more.
"""

import fcntl
import gc
import importlib
import multiprocessing.util
import os
import pickle
import runpy
import signal
import socket
import sys
import tempfile
import types
from collections.abc import Callable
from typing import Any, NoReturn

LIBRARIES = (
    *("diffusers.loaders.single_file_utils", "diffusers.pipelines.flux.pipeline_flux", "hydra.main", "joblib"),
    *("diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video", "diffusers.pipelines.wan.pipeline_wan"),
    *("diffusers.hooks.context_parallel", "imageio_ffmpeg", "omegaconf", "PIL.Image", "psutil", "pyarrow.parquet"),
    *("safetensors.torch", "submitit", "torch.distributed", "tqdm", "transformers.modeling_utils", "webdataset"),
    *("transformers.models.clip.modeling_clip", "transformers.models.t5.modeling_t5", "hydra._internal.hydra"),
    *("transformers.models.umt5.modeling_umt5", "transformers.models.llama.modeling_llama"),
    "multistorageclient.contrib.hydra",  # a plugin of Hydra's that comes with megatron-energon
)
# This project's modules that commands import: nearly half a second of a processor each time.
OURS = (
    *("jobs.execute.command", "jobs.execute.worker", "jobs.export.export", "jobs.options.compose"),
    *("jobs.options.explain", "jobs.options.hydra_private", "jobs.options.table", "jobs.report.page.build"),
    *("jobs.report.status", "jobs.score.command"),
)
PACKAGES = ("jobs", "spectrum", "hydra_plugins", "tools")
HIGH = 200  # file descriptors from here on are nobody's


def serve(requests: socket.socket) -> Callable[[], None]:
    """Fork for each request; returns in the fork, with what it has to do."""
    while True:
        length = requests.recv(8)
        if not length:
            os._exit(0)
        message, streams, _, _ = socket.recv_fds(requests, int.from_bytes(length, "little"), 3)
        told, tell = os.pipe()
        adopted, adopt = os.pipe()
        if not (between := os.fork()):
            child = os.fork()
            if child:
                os.write(tell, child.to_bytes(8, "little"))
                os._exit(0)
            os.read(adopted, 1)
            for descriptor in (told, tell, adopted, adopt):
                os.close(descriptor)
            requests.close()
            return begin(pickle.loads(message), streams)
        for descriptor in (*streams, tell, adopted):
            os.close(descriptor)
        os.waitpid(between, 0)  # now the child has its new parent
        requests.send(os.read(told, 8))
        os.write(adopt, b"\0")
        for descriptor in (told, adopt):
            os.close(descriptor)


def begin(request: dict[str, Any], streams: list[int]) -> Callable[[], None]:
    """Make of this fork a process as it would have been started; return what it has to do."""
    if request["new_session"]:
        os.setsid()
    twin = Twin(streams)  # now, while this process has seen nothing
    multiprocessing.util.spawnv_passfds = twin.spawn  # type: ignore[assignment]
    place(dict(enumerate(streams)))
    settle(request["environment"], request["cwd"])
    module, *arguments = request["words"]
    sys.argv = [module, *arguments]
    return lambda: runpy.run_module(module, run_name="__main__", alter_sys=True) and None


class Twin:
    """A process beside a command, forked before the command has done anything: it becomes the command's fork server.

    Python's would import the same libraries again.

    Args:
        foreign: file descriptors that it must not keep open.
    """

    def __init__(self, foreign: list[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            for descriptor in (ours.fileno(), *foreign):
                os.close(descriptor)
            ours.detach()
            code = self._wait(theirs)
            exec(code, sys.modules["__main__"].__dict__)
            sys.exit()
        theirs.close()
        self.socket: socket.socket | None = socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, HIGH))
        ours.close()
        self.plain = multiprocessing.util.spawnv_passfds

    def spawn(self, path: Any, words: list[Any], descriptors: list[int]) -> int:
        """Do what ``multiprocessing.util.spawnv_passfds`` does."""
        if self.socket is None or not words[-1].startswith("from multiprocessing.forkserver import main"):
            return self.plain(path, words, descriptors)
        passed = [0, 1, 2, *map(int, descriptors)]
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, ()), _ignored()  # a process that is started has them too
        message = pickle.dumps((words[-1], dict(os.environ), os.getcwd(), signals, passed))
        self.socket.send(len(message).to_bytes(8, "little"))
        socket.send_fds(self.socket, [message], passed)
        self.socket.close()
        self.socket = None
        return self.pid

    def _wait(self, requests: socket.socket) -> str:
        length = requests.recv(8)
        if not length:
            os._exit(0)  # the command has ended and needed none
        message, received, _, _ = socket.recv_fds(requests, int.from_bytes(length, "little"), 20)
        requests.close()
        code, environment, cwd, (blocked, ignored), wanted = pickle.loads(message)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        place(dict(zip(wanted, received, strict=True)))
        settle(environment, cwd)
        sys.argv = ["-c"]
        return code


def _ignored() -> list[signal.Signals]:
    return [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]


def place(descriptors: dict[int, int]) -> None:
    """Move file descriptors: wanted number -> number that it has."""
    aside = {wanted: fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, HIGH) for wanted, number in descriptors.items()}
    for number in descriptors.values():
        os.close(number)
    for wanted, number in aside.items():
        os.dup2(number, wanted)
        os.close(number)


def settle(environment: dict[str, str], cwd: str) -> None:
    """Take over an environment and a working directory, with what an interpreter does with them when it starts."""
    os.chdir(cwd)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    tempfile.tempdir = None  # was perhaps found in another environment
    if not is_same_code(environment, cwd):
        for name in ours():
            del sys.modules[name]
    on_path = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [cwd, *filter(None, on_path), *BASE]
    importlib.invalidate_caches()
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise


def ours() -> list[str]:
    """Name this project's modules that are imported."""
    return [name for name in sys.modules if name.partition(".")[0] in PACKAGES]


def is_same_code(environment: dict[str, str], cwd: str) -> bool:
    """Whether a process there would import this copy of the project, from what it would read while it does."""
    if any(environment.get(name) != BEFORE.get(name) for name in ("PYTHONPATH", "JOBS_PATIENCE")):
        return False
    return cwd == BEFORE["PYTHONPATH"] or not any(os.path.exists(os.path.join(cwd, name)) for name in PACKAGES)


def main() -> NoReturn:
    """Import, serve, and be what a request asks for."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    for name in (*LIBRARIES, *OURS):
        importlib.import_module(name)
    gc.enable()
    gc.freeze()
    work = serve(requests)
    work()
    sys.exit()


BEFORE = dict(os.environ)
# What of the path is neither a working directory nor PYTHONPATH.
BASE = [entry for entry in sys.path if entry not in ("", os.getcwd(), *os.environ.get("PYTHONPATH", "").split(":"))]

if __name__ == "__main__":
    main()
