"""Works the shards of a run on this machine: worker processes, each with its own model, fed one shard at a time.

A worker is one process, or a group of them that share each sample (``parallel``); then the first of them is the one
that is fed.
"""

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jobs.base.errors import BadInput
from jobs.base.times import ENDS
from jobs.execute.logs import redirect_output
from jobs.execute.worker import follow_leader, generate_shards
from jobs.parallel.ranks import Member
from jobs.run.run import Run

log = logging.getLogger(__name__)

PRELOADED = [
    *("diffusers.loaders.single_file_utils", "diffusers.pipelines.pipeline_utils", "transformers.modeling_utils"),
    *("pyarrow.parquet", "jobs.execute.worker"),
]


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    devices: list[str]
    log_path: str
    followers: list[tuple[Any, str]]  # the processes of its other ranks, and their logs
    meeting: Path
    doomed: float | None = None  # when it must have ended
    lost: str = ""  # the rank that it lost
    shard: int | None = None
    published: int = 0
    explained: bool = False
    open: bool = True


def run_pool(run: Run, shards: list[int], devices: list[list[str]]) -> list[str]:
    """Work ``shards`` on this machine and wait.

    Args:
        run: the run.
        shards: in the order in which they are begun.
        devices: of each worker, one a rank.

    Returns:
        One sentence for each thing that went wrong; empty when every shard was published whole.
    """
    queue = deque(shards)
    problems: list[str] = []
    total = sum(len(run.layout.shard_range(shard)) for shard in shards)
    workers = [_start(run, own, number) for number, own in enumerate(devices[: len(shards)])]
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tqdm(total=total, unit="sample", desc=run.directory.path.name, dynamic_ncols=True) as bar:
            while any(worker.open for worker in workers):
                for worker in _ready(workers):
                    _serve(worker, queue, problems, bar)
                    if not worker.open and worker.published and queue:
                        # it died on one shard and had managed others: the rest still deserves a worker
                        _end(worker)
                        workers.append(_start(run, worker.devices, len(workers)))
    finally:
        signal.signal(signal.SIGTERM, previous)
        for worker in workers:
            _end(worker)
    if queue:
        problems.append(f"{len(queue)} {'shards were' if len(queue) > 1 else 'shard was'} not started")
    return problems


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _ready(workers: list[_Worker]) -> list[_Worker]:
    """Wait for word of some workers; ends those whose group lost a rank and does not end by itself."""
    living = {worker.pipe: worker for worker in workers if worker.open}
    sentinels = [process.sentinel for worker in living.values() for process, _ in worker.followers]
    doomed = [worker for worker in living.values() if worker.doomed]
    ready = wait([*living, *sentinels], timeout=1.0 if doomed else None)
    for worker in living.values():
        for process, log_path in worker.followers:
            if process.exitcode and not worker.doomed:
                worker.doomed = time.monotonic() + ENDS
                worker.lost = f"{process.name}, which {_ended(process.exitcode)} ({log_path})"
        worker.followers = [each for each in worker.followers if each[0].exitcode is None]
    for worker in doomed:
        if worker.doomed and time.monotonic() > worker.doomed:
            worker.process.kill()
    return [living[one] for one in ready if one in living]


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _end(worker: _Worker) -> None:
    """See to it that none of a worker's processes is left."""
    processes = [worker.process, *(process for process, _ in worker.followers)]
    if worker.open:
        for process in processes:
            process.terminate()
    for process in processes:  # the followers leave by themselves when the first one has left
        process.join(ENDS)
        process.kill()
        process.join()
    worker.meeting.unlink(missing_ok=True)


def _start(run: Run, devices: list[str], number: int) -> _Worker:
    context = _context(devices)
    ours, theirs = context.Pipe()
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-worker{number}"
    logs = [str(run.directory.logs / f"{stem}{f'-rank{rank}' if rank else ''}.log") for rank in range(len(devices))]
    meeting = run.directory.work / f"group-{stem}-{time.time_ns():x}.json"
    members = [Member(rank, len(devices), rank, meeting) for rank in range(len(devices))]
    leader = members[0] if len(devices) > 1 else None
    process = context.Process(target=_worker_main, args=(run, devices[0], logs[0], theirs, leader), daemon=True)
    followers = [
        context.Process(target=_follower_main, args=(run, *one), daemon=True, name=f"rank {one[-1].rank}")
        for one in zip(devices[1:], logs[1:], members[1:], strict=True)
    ]
    for each in (process, *followers):
        each.start()
    theirs.close()
    return _Worker(process, ours, devices, logs[0], list(zip(followers, logs[1:], strict=True)), meeting)


def _context(devices: list[str]) -> Any:
    """Return how workers are started.

    On GPUs from nothing, because CUDA does not survive a fork; on a CPU as forks of one process that has imported what
    takes seconds. That process listens on a socket below the temporary directory, whose path must not be long.
    """
    if any(device.startswith("cuda") for device in devices) or len(tempfile.gettempdir()) > 60:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _serve(worker: _Worker, queue: deque[int], problems: list[str], bar: "tqdm[Any]") -> None:
    """Handle one message of a worker, or its end."""
    name = " + ".join(worker.devices)
    try:
        event, shard, detail = worker.pipe.recv()
    except (EOFError, OSError):
        worker.open = False
        worker.process.join()
        if worker.process.exitcode and not worker.explained:
            where = f" on shard {worker.shard}" if worker.shard is not None else ""
            ended = f"lost {worker.lost}" if worker.lost else _ended(worker.process.exitcode)
            problems.append(f"worker {name} {ended}{where}: see {worker.log_path}")
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
        bar.set_postfix_str("", refresh=False)
        bar.update()
    elif event == "calibrating":
        bar.set_postfix_str(f"calibrating: {detail}")
    elif event == "failed":
        problems.append(f"sample {detail}")
    elif event == "done":
        worker.published += 1
    elif event == "incomplete":
        problems.append(
            f"shard {shard} is not published, because samples failed: run the same command again to retry them"
        )
    elif event == "error":
        worker.explained = True
        problems.append(f"worker {name}: {detail}: see {worker.log_path}")


def _worker_main(run: Run, device: str, log_path: str, pipe: Connection, member: Member | None) -> None:
    _begin(log_path)
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
        waited = generate_shards(
            run,
            shards(),
            device=device,
            log_path=log_path,
            report=report,
            member=member,
            on_loss=lambda cause: report("error", None, cause),
        )
        log.info("the generating thread waited for encoding or writing %.2f %% of the time", 100 * waited)
    except Exception as error:
        log.exception("this worker cannot go on")
        report("error", None, str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}")
        sys.exit(1)


def _follower_main(run: Run, device: str, log_path: str, member: Member) -> None:
    _begin(log_path)
    follow_leader(run, device=device, member=member)


def _begin(log_path: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    redirect_output(log_path)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker is of no use to a command that was killed, and would keep its GPU until a sample is written."""
    parent = multiprocessing.parent_process()
    assert parent
    wait([parent.sentinel])
    os._exit(1)
