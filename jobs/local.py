"""Works shards on this machine: ``ngpu`` worker processes, each with its own model, fed one shard at a time."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from tqdm import tqdm

from jobs.prepare import Prepared

log = logging.getLogger(__name__)


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    device: str
    log_path: str
    shard: int | None = None
    published: int = 0
    explained: bool = False
    open: bool = True


def run_local(prepared: Prepared, shards: list[int], devices: list[str]) -> list[str]:
    """Work ``shards`` on this machine and wait.

    Returns:
        One sentence for each thing that went wrong; empty when every shard was published whole.
    """
    queue = deque(shards)
    problems: list[str] = []
    total = sum(len(prepared.plan.shard_range(shard)) for shard in shards)
    workers = [_start(prepared, device, number) for number, device in enumerate(devices[: len(shards)])]
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tqdm(total=total, unit="sample", desc=prepared.run.path.name, dynamic_ncols=True) as bar:
            while any(worker.open for worker in workers):
                for ready in wait([worker.pipe for worker in workers if worker.open]):
                    worker = next(worker for worker in workers if worker.pipe is ready)
                    _serve(worker, queue, problems, bar)
                    if not worker.open and worker.published and queue:
                        # it died on one shard and had managed others: the rest still deserves a worker
                        workers.append(_start(prepared, worker.device, len(workers)))
    finally:
        signal.signal(signal.SIGTERM, previous)
        for worker in workers:
            if worker.open:
                worker.process.terminate()
            worker.process.join()
    if queue:
        problems.append(f"{len(queue)} shards were not begun")
    return problems


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _start(prepared: Prepared, device: str, number: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    log_path = str(prepared.run.logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-worker{number}.log")
    process = context.Process(target=_worker_main, args=(prepared, device, log_path, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, device, log_path)


def _serve(worker: _Worker, queue: deque[int], problems: list[str], bar: tqdm) -> None:
    """Handle one message of a worker, or its end."""
    try:
        event, shard, detail = worker.pipe.recv()
    except (EOFError, OSError):
        worker.open = False
        worker.process.join()
        if worker.process.exitcode and not worker.explained:
            where = f" on shard {worker.shard}" if worker.shard is not None else ""
            code = worker.process.exitcode
            ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            problems.append(f"worker {worker.device} {ended}{where}: see {worker.log_path}")
        return
    if event == "next":
        worker.shard = queue.popleft() if queue else None
        try:
            worker.pipe.send(worker.shard)
        except OSError:  # it died while waiting; its end is the next message
            if worker.shard is not None:
                queue.appendleft(worker.shard)
                worker.shard = None
    elif event == "sample":
        bar.update()
    elif event == "failed":
        problems.append(f"sample {detail}")
    elif event == "done":
        worker.published += 1
    elif event == "held":
        problems.append(f"shard {shard} waits for its failed samples; running the same command again retries them")
    elif event == "error":
        worker.explained = True
        problems.append(f"worker {worker.device}: {detail}: see {worker.log_path}")


def _worker_main(prepared: Prepared, device: str, log_path: str, pipe: Connection) -> None:
    from jobs.worker import work

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    redirect_output(log_path)

    sending = threading.Lock()  # the generator's thread and the writer's share the pipe

    def report(event: str, shard: int | None, detail: str) -> None:
        with sending:
            pipe.send((event, shard, detail))

    def shards() -> Iterator[int]:
        while True:
            report("next", None, "")
            shard = pipe.recv()
            if shard is None:
                return
            yield shard

    try:
        waited = work(
            prepared.options,
            prepared.plan,
            prepared.run,
            shards(),
            device=device,
            log_path=log_path,
            report=report,
        )
        log.info("the generator waited for encoding or writing %.2f %% of the time", 100 * waited)
    except Exception as error:
        log.exception("this worker cannot go on")
        report("error", None, f"{type(error).__name__}: {error}")
        sys.exit(1)


def redirect_output(log_path: str) -> None:
    """Send this process's output, libraries' included, to its log file."""
    file = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    start_logging()


def start_logging() -> None:
    """Log to standard error with times and levels."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
