"""Lets the next batch begin to denoise while one is decoded.

Each batch is a whole pipeline call in one of two threads, which take turns. Two never denoise at once, nor do two
decode, so that the state that a pipeline keeps on itself is one call's at a time.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Event
from typing import Any

from jobs.dataset.layout import Sample
from jobs.execute.room import Room
from jobs.model.pipeline import BatchPipeline, Failure, Made


class Overlap:
    """Calls a pipeline, and begins the call that is to follow before this one comes back.

    Args:
        pipeline: makes a batch a call; one without a ``handover`` is called as ever.
        room: on a GPU, whether there is clearly room for two batches; None where nobody needs to ask.

    Attributes:
        following: asked as soon as a batch, its argument, has denoised: returns the batch to begin then, or nothing.
        lag: seconds from there until the last call came back.
    """

    def __init__(self, pipeline: BatchPipeline, room: Room | None = None):
        self._pipeline, self._room = pipeline, room
        self._on = getattr(pipeline, "handover", None) is not None
        self._threads: ThreadPoolExecutor | None = None
        self._current: _Call | None = None
        self._ahead: _Call | None = None
        self._had_company = False
        self.following: Callable[[list[Sample]], list[Sample]] | None = None
        self.lag = 0.0

    def __call__(self, batch: list[Sample]) -> list[Made | Failure]:
        """Make a batch, which may have been begun already."""
        call = self._take(batch)
        if call is None:
            self._had_company = False
            if not self._on or self.following is None:
                return self._pipeline(batch)
            if self._room:
                self._room.begin()
            call = self._begin(batch, None)
        self._current = call
        call.denoised.wait()
        free = self._on and not (call.failed or self._ahead)
        if free and self.following and (following := self.following(batch)):
            self._ahead = self._begin(following, call)
        self._had_company = call.has_company or self._ahead is not None
        made = call.take()
        if self._room and not self._had_company:
            self._room.note(batch)
        self._current, self.lag = None, time.perf_counter() - call.denoised_at
        return made

    @property
    def shared(self) -> bool:
        """Whether the last call had to share the device with another one."""
        return self._on and self._had_company

    def has_room(self, batch: list[Sample], following: list[Sample]) -> bool:
        """Return whether two batches may be under way at once, to the bytes that each has alone."""
        return self._room is None or self._room.has_both(batch, following)

    @property
    def ahead(self) -> list[Sample]:
        """The batch that was begun and that nobody asked for yet."""
        return self._ahead.batch if self._ahead else []

    def end(self) -> bool:
        """Overlap no more; return whether the last call had to share the device.

        What was begun goes on first, and is kept if it comes out well.
        """
        shared, self._on = self.shared, False
        if self._ahead and self._ahead.fails():
            self.forget()
        return shared

    def forget(self) -> None:
        """Let go of what was begun, at its end: it is to be made in another way."""
        if self._ahead:
            self._ahead.forget()
            self._ahead = None

    def drop(self) -> None:
        """Let go of calls that nobody will ask for any more: one that was begun, and one whose wait was broken off."""
        calls = [call for call in (self._current, self._ahead) if call]
        if calls:
            with self._pipeline.interrupted():
                for call in calls:
                    call.forget()
        self._current = self._ahead = self.following = None

    def close(self) -> None:
        """End the threads."""
        self.drop()
        if self._threads:
            self._threads.shutdown()

    def _take(self, batch: list[Sample]) -> "_Call | None":
        """Return the call that makes this batch, if it was begun; else only wait until the pipeline is free."""
        call = self._ahead
        if call and call.batch == batch:
            self._ahead = None
            return call
        if call:
            call.over.wait()
        return None

    def _begin(self, batch: list[Sample], followed: "_Call | None") -> "_Call":
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, "generate", *_like_this_thread())
        call = _Call(batch, followed)
        # In a copy of the context of this thread: that is where torch keeps what its compiler was set to.
        call.result = self._threads.submit(copy_context().run, call.make, self._pipeline)
        return call


class _Call:
    """One pipeline call in a thread.

    An exception keeps the tensors of a call that failed, and a call that keeps its own exception would never be freed
    at once: so ``take`` and ``forget`` part them.

    Attributes:
        batch: the samples.
        has_company: whether another call was not over when this one began.
        denoised: set when the next one may begin.
        denoised_at: when that was.
        over: set at its end.
        failed: whether that was an exception.
        result: what comes of it.
    """

    result: "Future[list[Made | Failure]]"

    def __init__(self, batch: list[Sample], followed: "_Call | None"):
        self.batch, self.denoised, self.over, self.failed = batch, Event(), Event(), False
        self.has_company, self._followed = followed is not None, followed.over if followed else None
        self.denoised_at = time.perf_counter()

    def make(self, pipeline: BatchPipeline) -> list[Made | Failure]:
        """Make the batch, in a thread of its own."""
        try:
            return pipeline(self.batch, self._at_decoding)
        except BaseException:
            self.failed = True
            raise
        finally:
            self.over.set()
            self.denoised.set()  # whoever waits for a call that does not decode waits for its end

    def take(self) -> list[Made | Failure]:
        """Return what was made, once, when it is there.

        Raises:
            BaseException: what the call failed with.
        """
        self.over.wait()
        return self.__dict__.pop("result").result()  # type: ignore[no-any-return]

    def fails(self) -> bool:
        """Wait for its end, and return whether that was an exception."""
        self.over.wait()
        return self.failed

    def forget(self) -> None:
        """Wait for its end, and let go of what was made."""
        self.over.wait()
        self.__dict__.pop("result", None)

    def _at_decoding(self) -> None:
        if self._followed:
            self._followed.wait()
        self.denoised_at = time.perf_counter()
        self.denoised.set()


def _like_this_thread() -> tuple[Callable[..., None], tuple[Any, ...]]:
    """Return what makes a new thread compute as this one does: on as many cores, and on the same GPU."""
    import torch

    cuda: Any = torch.cuda  # not all of it is typed
    cores = torch.get_num_threads()
    gpu = cuda.current_device() if cuda.is_initialized() else None

    def set_up() -> None:
        torch.set_num_threads(cores)
        if gpu is not None:
            cuda.set_device(gpu)

    return set_up, ()
