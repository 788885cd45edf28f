"""Works the shards of a run on this machine: worker processes, each with its own model, fed one shard at a time.

A worker is one process, or a group of them that share each sample (``parallel``); then the first of them is the one
that is fed. This process itself loads nothing, so that it survives what its workers die of: it writes down how they
died, starts others, and tells them when to stop.
"""

import logging
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any

from tqdm import tqdm

from jobs.base.times import ENDS
from jobs.execute.halt import CUT_OFF, LOOK, Halt
from jobs.execute.local import Worker, ended, is_crash, oom_kills, start_worker
from jobs.execute.work import AnyWork
from jobs.store.journal import DIED, STOPPED, deaths_of, journals, write_end

log = logging.getLogger(__name__)


class Pool:
    """The workers of one run on this machine.

    Args:
        run: whose they are.
        shards: in the order in which they are begun.
        devices: of each worker, one a rank.
        halt: asks the workers to stop.
        task: log of the task that this is; "" for a command of its own, which has a terminal.

    Attributes:
        problems: one sentence for each sample and shard that did not come out; empty when all shards are whole.
        mishaps: one for each worker that did not end in order; others may have made up for it.
        made: samples that its workers made; those of a calibration too.
    """

    def __init__(self, run: AnyWork, shards: list[int], devices: list[list[str]], halt: Halt, task: str = ""):
        self.problems: list[str] = []
        self.mishaps: list[str] = []
        self.made = 0
        self._run, self._halt, self._task = run, halt, task
        self._queue = deque(shard for shard in shards if not self._is_hopeless(shard))
        self._deaths: Counter[int] = Counter()
        self._told = False
        self._oom_kills = oom_kills()
        self._workers: list[Worker] = []
        self._devices = devices[: len(self._queue)]
        total = sum(len(run.layout.shard_range(shard)) for shard in self._queue)
        name = run.directory.path.name
        tqdm.set_lock(threading.RLock())  # its own is a semaphore of several processes, which Ctrl-C would leave behind
        self._bar = tqdm(total=total, unit="sample", desc=name, dynamic_ncols=True, disable=bool(task))

    def work(self) -> None:
        """Start the workers and wait until nothing is left, or they have stopped."""
        try:
            for devices in self._devices:
                self._start(devices)
            while any(worker.open for worker in self._workers):
                for worker in self._ready():
                    self._serve(worker)
                    if not worker.open:
                        worker.end()
                        self._bury(worker)
                self._stop_in_time()
        finally:
            self._bar.close()
            for worker in self._workers:
                worker.end()
                if worker.open:
                    self._write_end(worker, worker.begun, STOPPED, self._halt.why or "interrupted")
        if self._queue and not self._halt.why:
            count = len(self._queue)
            self.problems.append(f"{count} {'shards were' if count > 1 else 'shard was'} not started")

    def _is_hopeless(self, shard: int) -> bool:
        """Whether processes die of a shard, wherever they are in it."""
        earlier = deaths_of(list(journals(self._run.directory, shard)))
        deaths = [death for death in earlier if death.crashed and not death.trying]
        if len(deaths) < self._run.options.max_attempts:
            return False
        self.problems.append(
            f"shard {shard} is not tried again: {len(deaths)} processes died at it ({deaths[-1].words}): "
            f"raise max_attempts={self._run.options.max_attempts} to try once more"
        )
        return True

    def _start(self, devices: list[str]) -> None:
        number = len(self._workers)
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-worker{number}"
        own = str(self._run.directory.logs / f"{stem}.log")
        # A task's only worker logs where the task does.
        log_path = self._task if self._task and len(self._devices) == 1 else own
        self._workers.append(start_worker(self._run, devices, stem, log_path, self._halt.end))

    def _ready(self) -> list[Worker]:
        """Wait for word of some workers; ends those whose group lost a rank and does not end by itself."""
        living = {worker.pipe: worker for worker in self._workers if worker.open}
        sentinels = [process.sentinel for worker in living.values() for process, _ in worker.followers]
        ready = wait([*living, *sentinels], timeout=LOOK)
        for worker in living.values():
            for process, log_path in worker.followers:
                if process.exitcode and not worker.doomed:
                    worker.doomed = time.monotonic() + ENDS
                    worker.lost = f"{process.name}, which {ended(process.exitcode)} ({log_path})"
                    worker.killed = process.exitcode < 0
                    worker.crashed = worker.killed and is_crash(process.exitcode, 0)
            worker.followers = [each for each in worker.followers if each[0].exitcode is None]
            if worker.doomed and time.monotonic() > worker.doomed:
                worker.process.kill()
        return [living[one] for one in ready if one in living]

    def _serve(self, worker: Worker) -> None:
        """Handle one message of a worker, or its end."""
        try:
            event, shard, detail = worker.pipe.recv()
        except (EOFError, OSError):
            worker.open = False
            return
        self.made += event in ("sample", "calibrated")
        if self._task and event not in ("sample", "inherited", "next", "calibrated"):
            log.info("%s: %s %s %s", worker.name, event, "" if shard is None else f"shard {shard}", detail)
        if event == "next":
            self._feed(worker)
        elif event in ("sample", "inherited"):
            self._bar.set_postfix_str("", refresh=False)
            self._bar.update()
        elif event == "calibrating":
            self._bar.set_postfix_str(f"calibrating: {detail}")
        elif event == "failed":
            self.problems.append(f"sample {detail}")
        elif event == "done":
            worker.published += 1
            worker.begun.discard(shard)
        elif event == "incomplete":
            worker.begun.discard(shard)
            self.problems.append(
                f"shard {shard} is not published, because samples failed: run the same command again to retry them"
            )
        elif event == "halted":
            self._halt.ask(detail)
        elif event == "error":
            worker.explained = True
            self._mishap(f"worker {worker.name}: {detail}: see {worker.log_path}")

    def _feed(self, worker: Worker) -> None:
        stops = bool(self._halt.why)
        worker.shard = self._queue.popleft() if self._queue and not stops else None
        try:
            worker.pipe.send(worker.shard)
        except OSError:  # it died while waiting; its end is the next message
            if worker.shard is not None:
                self._queue.appendleft(worker.shard)
                worker.shard = None
        if worker.shard is not None:
            worker.begun.add(worker.shard)

    def _bury(self, worker: Worker) -> None:
        """Say how a worker ended, and have another one go on."""
        self._workers.remove(worker)
        code, shard = worker.process.exitcode, worker.shard
        if not code:
            return
        unmade = sorted(each for each in worker.begun if not self._run.directory.is_done(each))
        if not worker.explained or worker.killed:
            crashed = worker.crashed if worker.lost else is_crash(code, oom_kills() - self._oom_kills)
            self._oom_kills = oom_kills()
            how = f"lost {worker.lost}" if worker.lost else ended(code)
            words = f"{how}: see {worker.log_path}"
            # What it was still writing down is not what it died of.
            self._write_end(worker, worker.begun - {shard}, STOPPED, f"its process {words}")
            if shard in unmade:
                self._write_end(worker, {shard}, DIED, words, crashed=crashed)
                self._deaths[shard] += 1
            if not worker.explained:
                where = f" on shard {shard}" if shard is not None else ""
                self._mishap(f"worker {worker.name} {how}{where}: see {worker.log_path}")
            again = worker.begun or worker.published  # it had loaded the model
        else:
            # The machine, its GPU or the disk failed it: others go on, and itself only if it had come to something.
            again = worker.published
        self._queue.extendleft(each for each in reversed(unmade) if each != shard)
        if shard in unmade and self._deaths[shard] < 2 * self._run.options.max_attempts:
            self._queue.append(shard)  # after those that nobody died of
        if again and self._queue and not self._halt.why:
            self._start(worker.devices)

    def _stop_in_time(self) -> None:
        """Pass a wish to stop on; cut off who has not stopped at the deadline."""
        if self._halt.why and not self._told:
            self._told = True
            log.info("stopping after the samples in hand: %s", self._halt.why)
            for worker in self._workers:
                if worker.open:
                    _tell(worker, self._halt.why)
        if self._halt.overdue:
            self._halt.ask(CUT_OFF)
            for worker in self._workers:
                worker.end()
                self._write_end(worker, worker.begun, STOPPED, self._halt.why)
                worker.open = False

    def _write_end(self, worker: Worker, shards: Iterable[int], how: str, error: str, *, crashed: bool = False) -> None:
        write_end(self._run.directory, shards, worker.process.pid, how, error, crashed=crashed)

    def _mishap(self, words: str) -> None:
        self.mishaps.append(words)
        if self._task:
            log.error(words)


def _tell(worker: Worker, why: str) -> None:
    with suppress(OSError):  # it has ended
        worker.pipe.send(why)


def run_pool(run: AnyWork, shards: list[int], devices: list[list[str]]) -> list[str]:
    """Work ``shards`` on this machine for a command that waits at a terminal.

    Args:
        run: whose they are.
        shards: in the order in which they are begun.
        devices: of each worker, one a rank.

    Returns:
        One sentence for each thing that went wrong.
    """
    pool = Pool(run, shards, devices, Halt())
    with _terminated_as_interrupted():
        pool.work()
    return [*pool.mishaps, *pool.problems]


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt
