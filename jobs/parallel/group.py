"""The ranks that make a sample together. Rank 0 leads: it announces calls, which all ranks then make alike.

Whatever ends one rank ends the group, and no rank waits for a lost one (``jobs.parallel.watchdog``). The first cause is
written down before anybody leaves, and everybody leaves with it within half a minute.

Everything but the tensors goes through the store. It holds numbers and text, never pickles, which a stranger on the
network could send as well; what decides anything is sealed (``jobs.parallel.sealed``).
"""

import contextlib
import datetime
import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from jobs.base.times import AGREE, BEAT, HANGS, LOST
from jobs.parallel.introduce import introduce, misfit
from jobs.parallel.ranks import Member
from jobs.parallel.sealed import Sealed
from jobs.parallel.watchdog import Watchdog, first_cause

log = logging.getLogger(__name__)

LEFT_BEHIND = 75  # exit code of a process that leaves because of another one


class Torn(Exception):
    """An error that left an exchange between ranks half made: what comes next would be taken for the rest of it."""


class Group:
    """One rank's end of a group, used as a context: leaving it in order waits for the others.

    Args:
        member: this process's place.
        device: torch device of this rank, which decides between nccl and gloo.
        digest: must be the same on all ranks: names what they are going to do.
        on_loss: called with the first cause before this process ends because of it: on rank 0, and on rank 1 where
            rank 0 is the lost one.
    """

    def __init__(self, member: Member, *, device: str, digest: str, on_loss: Callable[[str], None]):
        self.rank, self.size = member.rank, member.size
        self.device = device
        self._member, self._digest, self._on_loss = member, digest, on_loss
        self._calls = 0
        self._leaving = threading.Lock()
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> "Group":
        import torch
        import torch.distributed as dist

        if self._member.one_machine:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        else:
            self._member.network.choose()
        self._host = self._member.host() if self.rank == 0 else None
        store, secret = self._member.connect()
        self._store = self._of_this_round(store)
        self._told = Sealed(self._store, secret)
        own = self._client()  # the watchdog's, made while the store can still be found: rank 0 may leave at once
        try:
            others = self._introduce()
            hosted = self._member.address is not None
            self._watchdog = Watchdog(self.rank, others, own, hosted=hosted, leave=self._leave)
            self._watchdog.start()
            gpu = torch.device(self.device) if self.device.startswith("cuda") else None
            if gpu:
                torch.cuda.set_device(gpu)
            dist.init_process_group(
                "nccl" if gpu else "gloo",
                device_id=gpu,  # or the library guesses it from the rank, and connects at the first collective
                store=dist.PrefixStore("tensors", self._client()),
                rank=self.rank,
                world_size=self.size,
                timeout=datetime.timedelta(seconds=HANGS),
            )
        except Exception as error:
            self._fail(error)
        self._member.met()
        return self

    def _client(self) -> Any:
        return self._of_this_round(self._member.connect()[0])

    def _of_this_round(self, store: Any) -> Any:
        from torch.distributed import PrefixStore

        return PrefixStore(f"group{self._member.round}", store)

    def _introduce(self) -> list[dict[str, Any]]:
        """Learn who the others are; rank 0 sees to it that they fit together."""
        others = introduce(self._told, self._store, self.rank, self.size, self.device, self._digest)
        if self.rank == 0 and (trouble := misfit(others)):
            self.end(trouble)
        return others

    def announce(self, call: Any) -> None:
        """Rank 0 tells the others what to do next; anything JSON can say, and None for the end."""
        self._calls += 1
        self._told.set(f"call/{self._calls}", json.dumps(call))

    def announced(self) -> Iterator[Any]:
        """What rank 0 announces, until it leaves; the others make each call within ``together``."""
        while True:
            self._calls += 1
            key = f"call/{self._calls}"
            try:
                while not self._store.check([key]):
                    time.sleep(0.005)
                call = json.loads(self._told.get(key))
            except RuntimeError:
                self._await_the_watchdog()
                raise
            if call is None:
                return
            yield call

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Around a call that all ranks make alike.

        An exception that every rank meets, such as one that a prompt causes, passes as it is; so does one of rank 0
        when the others have come through the call. Another leaves some in the middle of an exchange: it ends the group.
        """
        try:
            yield
        except Torn as error:
            self._fail(error)
        except Exception as error:
            self._met(error)
            raise
        if self.rank:
            self._store.add(f"out/{self._calls}", 1)

    def _met(self, error: Exception) -> None:
        """Return if no other rank is left in the middle of the call, otherwise end."""
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()  # returns only if the others came as far as this rank did
        key = f"out/{self._calls}"
        deadline = time.monotonic() + AGREE
        try:
            met = self._store.add(key, 1)
            while met < self.size and time.monotonic() < deadline:
                time.sleep(0.05)
                met = self._store.add(key, 0)
            whole = met == self.size and not self._store.check(["cause"])
        except RuntimeError:
            self._await_the_watchdog()
            whole = False
        if not whole:
            self._fail(error)

    def _await_the_watchdog(self) -> None:
        """The store is gone, and rank 0 with it: leave it to the watchdog to say so."""
        if self._watchdog:
            self._watchdog.join(LOST * BEAT)

    def _fail(self, error: BaseException) -> NoReturn:
        """End this process because of what it met."""
        log.error("this rank cannot go on", exc_info=error)
        if self._watchdog:
            self._watchdog.join(2 * BEAT)  # it may know of a loss that led to this
        self.end(self._cause(error))

    def _cause(self, error: BaseException) -> str:
        return f"rank {self.rank}: {type(error).__name__}: {error}"

    def end(self, cause: str) -> NoReturn:
        """Write down why the group ends, if nobody has yet, and end this process."""
        self._leave(first_cause(self._store, cause))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        assert self._watchdog
        if error is not None:
            if self.rank:
                self._fail(error)
            self._watchdog.close()
            first_cause(self._store, self._cause(error))
            time.sleep(2 * BEAT)
            return
        import torch.distributed as dist

        if self.rank == 0:
            self.announce(None)
        self._wait_for_all("done")
        self._watchdog.close()
        self._watchdog.join()
        dist.destroy_process_group()
        if self.rank:
            self._store.add("gone", 1)
        else:  # the store ends with this process; nothing is lost any more by one that does not come
            self._wait_for_all("gone", patience=LOST * BEAT)

    def _wait_for_all(self, key: str, patience: float = math.inf) -> None:
        """Wait until every rank has come here; the watchdog, while it is there, ends the wait for a lost one."""
        deadline = time.monotonic() + patience
        arrived = self._store.add(key, 1)
        while arrived < self.size and time.monotonic() < deadline:
            time.sleep(0.01)
            arrived = self._store.add(key, 0)

    def _leave(self, cause: str, lost: int | None = None) -> NoReturn:
        """End this process, whatever its main thread is waiting for."""
        if not self._leaving.acquire(blocking=False):
            threading.Event().wait()  # another thread is about to end it
        log.error("this group of %d ranks ends: %s", self.size, cause)
        self._member.met()
        if self._host is not None:
            time.sleep(2 * BEAT)  # the store ends with this process: let the others read the cause
        if self.rank == (lost == 0):
            word = threading.Thread(target=self._on_loss, args=(cause,), daemon=True)
            word.start()
            word.join(5)  # whoever is to be told may be stuck too
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(LEFT_BEHIND)
