"""What sees that a rank is lost: a thread of each rank writes a beat into the common store and looks at the others'.

It works while the main thread waits inside a collective.
"""

import contextlib
import threading
import time
from typing import Any, NoReturn, Protocol

from jobs.base.times import BEAT, LOST
from jobs.store.process import lives_here


class Leave(Protocol):
    """Ends this process, with the first cause, and the rank that was lost if one was."""

    def __call__(self, cause: str, lost: int | None = None) -> NoReturn: ...


def first_cause(store: Any, cause: str) -> str:
    """Write down why a group ends, if nobody has yet, and return what is written."""
    with contextlib.suppress(RuntimeError):  # the store is gone with rank 0
        return str(store.compare_set("cause", "", cause).decode())
    return cause


class Watchdog:
    """The threads of one rank.

    Args:
        rank: this one.
        others: what each rank has said of itself (``jobs.parallel.introduce``).
        store: a client of their own: it is one socket, for one thread.
        hosted: whether the launcher keeps the store, and not rank 0.
        leave: called once the group is over.
    """

    def __init__(self, rank: int, others: list[dict[str, Any]], store: Any, *, hosted: bool, leave: Leave):
        self._rank, self._others, self._store = rank, others, store
        self._hosted, self._leave = hosted, leave
        self._rounds = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()
        threading.Thread(target=self._watch_the_watchdog, name="watchdog's", daemon=True).start()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, so many seconds at most."""
        self._thread.join(timeout)

    def close(self) -> None:
        """Find nothing from now on: the ranks leave in order."""
        self._closing.set()

    def _watch(self) -> None:
        seen: dict[int, tuple[bytes, int]] = {}  # the last beat of each rank, and the looks without a new one
        while not self._closing.wait(BEAT):
            try:
                self._store.set(f"beat/{self._rank}", str(time.time()))
                if self._store.check(["cause"]):
                    self._leave(self._store.get("cause").decode())
                for rank in range(len(self._others)):
                    key = f"beat/{rank}"
                    beat = self._store.get(key) if self._store.check([key]) else b""
                    last, looks = seen.get(rank, (b"", 0))
                    seen[rank] = (beat, looks + 1 if beat == last else 0)
                    self._check_alive(rank, seen[rank][1])
            except RuntimeError:
                if not self._closing.is_set():
                    self._store_is_gone()
            self._rounds += 1

    def _watch_the_watchdog(self) -> None:
        """The watchdog waits without end for the answers of a store that is there and says nothing."""
        last, looks = -1, 0
        while not self._closing.wait(BEAT):
            last, looks = self._rounds, looks + 1 if self._rounds == last else 0
            if looks > LOST:
                self._leave(f"rank 0 has given no answer for {LOST * BEAT:g} seconds", lost=0)

    def _store_is_gone(self) -> NoReturn:
        if self._hosted:
            self._leave("the store that the launcher keeps is gone")
        self._check_alive(0, 0)
        self._leave("rank 0, which keeps the group together, is gone", lost=0)

    def _check_alive(self, rank: int, looks: int) -> None:
        process = self._others[rank]["process"]
        if lives_here(process) is False:
            if self._closing.wait(BEAT):  # it may have left in order meanwhile
                return
            cause = f"rank {rank} (process {process['pid']}) was killed or ended"
        elif looks > LOST:
            cause = f"rank {rank} has given no sign of life for {LOST * BEAT:g} seconds"
        else:
            return
        self._leave(first_cause(self._store, cause), lost=rank)
