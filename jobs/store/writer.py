"""Encoding, writing and publishing beside the generator (the GPU never waits for a disk).

Pictures and clips are encoded by a small pool of threads; one writer thread appends them in order, and publishes a
shard while the next one is being generated. A bounded queue is the only brake: ``waited`` counts the seconds the
generator stood at it. What is sent to a store is published by a thread of its own, since that may take long.
"""

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jobs.base.times import HEARTBEAT
from jobs.dataset.layout import Layout, Sample
from jobs.dataset.parameters import parameters_text
from jobs.dataset.record import sample_json, sample_members
from jobs.media.image import MediaFormat
from jobs.store.attempt import Attempt
from jobs.store.journal import STOPPED
from jobs.store.publish import DONE, finish
from jobs.store.tar import sample_bytes

Report = Callable[..., None]

# Threads that encode: a 1024 x 1024 PNG takes a core 0.4 s, so that two of them hold up a fast GPU.
ENCODERS = max(2, min(8, len(os.sched_getaffinity(0))))
GIVES_WAY = 5  # niceness of these threads above that of the process: the one that launches kernels comes first
BACKLOG = 2  # complete shards that may wait for a store, or be on their way to it: more would fill the disk


class Writer:
    """Takes images and clips off the generating thread's hands.

    Args:
        layout: the run's samples.
        media_format: how to encode.
        common: json fields all samples share.
        sample_attempts: see ``jobs.store.publish.finish``.
        in_flight: samples that may wait here before the generator has to.
        report: called from a thread of its own, or two, as ``report(event, shard, detail)`` with event "sample",
            "inherited", "failed", "done" or "incomplete".
    """

    def __init__(
        self,
        layout: Layout,
        media_format: MediaFormat,
        common: dict[str, Any],
        *,
        sample_attempts: int,
        in_flight: int,
        report: Report,
        encoders: int = ENCODERS,
    ):
        self._layout, self._format, self._common = layout, media_format, common
        self._sample_attempts, self._report = sample_attempts, report
        self._queue: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.Queue(in_flight)
        self._pool = ThreadPoolExecutor(encoders, "encode", os.nice, (GIVES_WAY,))  # of a thread, on Linux
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="send")
        self._backlog = threading.Semaphore(BACKLOG)
        self._error: BaseException | None = None
        self._open: set[Attempt] = set()
        self._stopped = threading.Event()
        self.waited = 0.0
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        self._heart.start()

    def start(self, attempt: Attempt) -> None:
        """From here until it is finished the attempt's heart beats."""
        self._open.add(attempt)

    def inherit(self, attempt: Attempt, sample: Sample) -> None:
        """Take over a sample that an earlier attempt made."""
        self._put(self._inherit, attempt, sample)

    def add(
        self,
        attempt: Attempt,
        sample: Sample,
        media: np.ndarray,
        how: dict[str, Any],
        seconds: float,
        audit: dict[str, Any] | None = None,
        adapted: str = "",
    ) -> None:
        """Encode and append a new sample.

        Args:
            attempt: at its shard.
            sample: what was made.
            media: uint8 (height, width, 3), or (frames, height, width, 3).
            how: what its json says of how it was made, with "flagged" among it.
            seconds: its share of the time its batch took to generate.
            audit: how near it is to the same sample with all steps, if that was made.
            adapted: what was done for want of memory.
        """
        encoded = self._pool.submit(self._encode, sample, media, attempt.shard, how)
        self._put(self._append, attempt, sample, encoded, bool(how["flagged"]), seconds, audit, adapted)

    def fail(self, attempt: Attempt, sample: Sample, error: str, *, strike: bool = True, final: bool = False) -> None:
        """Record a sample that could not be made (see ``Attempt.fail``)."""
        self._put(self._fail, attempt, sample, error, strike, final)

    def finish(self, attempt: Attempt) -> None:
        """Publish, or end the attempt, once everything before this is written."""
        self._put(self._finish, attempt)

    def abort(self, attempt: Attempt, error: str) -> None:
        """End an attempt that cannot go on, after everything before this is written; never raises."""
        self._enqueue((self._abort, (attempt, error)))

    def leave(self, attempt: Attempt, why: str) -> None:
        """End an attempt in mid-shard, once everything before this is written."""
        self._put(self._leave, attempt, why)

    def close(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            BaseException: whatever went wrong on the way.
        """
        self._enqueue(None)
        self._thread.join()
        self._sender.shutdown()
        self._stopped.set()
        self._heart.join()
        self._pool.shutdown()
        if self._error:
            raise self._error

    def _put(self, action: Callable[..., None], *arguments: Any) -> None:
        if self._error:
            raise self._error
        self._enqueue((action, arguments))

    def _enqueue(self, item: tuple[Callable[..., None], tuple[Any, ...]] | None) -> None:
        start = time.perf_counter()
        self._queue.put(item)
        self.waited += time.perf_counter() - start

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._do(*item)

    def _do(self, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Do what was asked of an attempt, unless it or all of them have ended."""
        attempt = arguments[0]
        if attempt not in self._open or (self._error and action != self._abort):
            return  # drain, so that the generator is never stuck at a full queue
        try:
            action(*arguments)
        except BaseException as error:
            if attempt.run.is_done(attempt.shard):  # another attempt published it and cleared our files away
                self._abort(attempt, "published by another attempt")
                self._report(DONE, attempt.shard, "")
                return
            self._error = self._error or error
            for each in list(self._open):
                self._abort(each, f"{type(error).__name__}: {error}")

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT):
            for attempt in list(self._open):
                attempt.beat()

    def _abort(self, attempt: Attempt, error: str) -> None:
        attempt.end("error", error)
        self._open.discard(attempt)

    def _leave(self, attempt: Attempt, why: str) -> None:
        attempt.end(STOPPED, why)
        self._open.discard(attempt)

    def _inherit(self, attempt: Attempt, sample: Sample) -> None:
        attempt.inherit(sample.index)
        self._report("inherited", attempt.shard, sample.key)

    def _encode(
        self, sample: Sample, media: np.ndarray, shard: int, how: dict[str, Any]
    ) -> tuple[list[str], bytes, str, str]:
        said = self._parameters(sample) if self._format.parameters else ""
        encoded = self._format.encode(media, said)
        info = sample_json(sample, self._common, how, shard=shard, fps=self._format.fps)
        members = sample_members(sample, encoded, self._format.name, info)
        names = [f"{sample.key}.{extension}" for extension in members]
        data = sample_bytes(sample.key, members)
        return names, data, hashlib.sha256(encoded).hexdigest(), hashlib.sha256(data).hexdigest()

    def _parameters(self, sample: Sample) -> str:
        return parameters_text(sample, model=self._common["model"], sampler=self._common["scheduler"])

    def _append(
        self,
        attempt: Attempt,
        sample: Sample,
        encoded: Any,
        flagged: bool,
        seconds: float,
        audit: dict[str, Any] | None,
        adapted: str,
    ) -> None:
        names, data, media_sha256, sha256 = encoded.result()
        said: dict[str, Any] = {"media_sha256": media_sha256, "flagged": flagged, "seconds": seconds, "audit": audit}
        said["adapted"] = adapted
        attempt.append(sample.index, names, data, **said, sha256=sha256)
        self._report("sample", attempt.shard, sample.key)

    def _fail(self, attempt: Attempt, sample: Sample, error: str, strike: bool, final: bool) -> None:
        attempt.fail(sample.index, sample.key, error, strike=strike, final=final)
        self._report("failed", attempt.shard, f"{sample.key}: {error}")

    def _finish(self, attempt: Attempt) -> None:
        if attempt.run.url:
            self._backlog.acquire()
            self._sender.submit(self._send, attempt)
        else:
            self._publish(attempt)

    def _send(self, attempt: Attempt) -> None:
        try:
            self._do(self._publish, (attempt,))
        finally:
            self._backlog.release()

    def _publish(self, attempt: Attempt) -> None:
        outcome = finish(attempt, self._layout, self._sample_attempts)
        self._open.discard(attempt)
        self._report(outcome, attempt.shard, "")
