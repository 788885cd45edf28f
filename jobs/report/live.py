"""What a person sees while tasks of a cluster are waited for: a few lines that change, or plain lines now and then."""

import sys
import time
from collections import Counter

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from jobs.base.times import PATIENCE
from jobs.report.progress import Glance

EVERY = 60.0 * PATIENCE  # seconds between plain lines that tell of progress
WIDTH = 40  # of the bar, in characters
NO_REASON = "None"  # of Slurm's, for tasks that it has not looked at yet
FAILURES = 3  # the last ones that are shown


class Display:
    """On a terminal a block that changes in place, elsewhere lines; sentences stand above it."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._last: list[str] | None = None
        self._next = 0.0
        self.failures: list[str] = []

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence that stays."""
        print(sentence, flush=True)

    def fail(self, sentence: str) -> None:
        """Tell of a failure: at once in plain lines, among the last ones on a terminal."""
        self.failures.append(sentence)
        if not self._live:
            self.say(f"failed: {sentence}")

    def show(self, glance: Glance, running: int, pending: Counter[str], unsubmitted: int, full: str = "") -> None:
        """Show where things stand.

        Args:
            glance: at the runs.
            running: tasks that run.
            pending: Slurm's reason -> tasks that are pending for it.
            unsubmitted: tasks that are not submitted yet.
            full: why there is no place for those.
        """
        tasks = standing(running, pending, unsubmitted, full)
        if self._live:
            length = round(WIDTH * glance.made / max(glance.samples, 1))
            bar = Text.assemble(("━" * length, "green"), ("━" * (WIDTH - length), "bright_black"))
            failures = [Text(f"failed: {one}", style="red", overflow="ellipsis", no_wrap=True) for one in self.failures]
            self._live.update(Group(bar, Text(str(glance)), Text(tasks), *failures[-FAILURES:]), refresh=True)
        elif sorted(pending) != self._last or time.monotonic() >= self._next:
            # another reason is told at once, but not every task that begins
            self._last, self._next = sorted(pending), time.monotonic() + EVERY
            print(f"{time.strftime('%H:%M:%S')} {glance}; {tasks}", file=sys.stderr, flush=True)


def standing(running: int, pending: Counter[str], unsubmitted: int, full: str = "") -> str:
    """Return in words what the tasks do."""
    parts = [f"{running:,} running"]
    for reason, count in pending.most_common():
        parts.append(f"{count:,} pending{'' if reason == NO_REASON else f' ({reason})'}")
    if unsubmitted:
        parts.append(f"{unsubmitted:,} to be submitted{f' ({full})' if full else ''}")
    return f"tasks: {', '.join(parts)}"
