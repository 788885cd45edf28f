"""Real inner runs of pytest over the cases beside this file, and what they leave on the machine."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.isolation import MEMORY, PROJECT
from tools.slurm.processes import Process, Seen, end, matching, wait_for

LIMIT = 180  # seconds after which what was waited for is taken not to come, on a machine that is busy as well


def ready(told: dict[str, Any]) -> None:
    """Tell the outer test, from within a case, that everything is up; it may hear of it when the session has ended."""
    session = Path(os.environ["TMPDIR"])
    new = session / "ready.json"
    new.write_text(json.dumps({"session": session.name, **told}))
    new.rename(told_file(session.parent))


def told_file(folder: Path) -> Path:
    """Return the file that holds what a case told, beside the folder that has to be empty in the end."""
    return folder.with_suffix(".told")


def witness_file(folder: Path) -> Path:
    """Return the file that tells of a teardown, beside the folder that has to be empty in the end."""
    return folder.with_suffix(".torn-down")


@dataclass(frozen=True)
class Inner:
    """One inner run.

    Attributes:
        process: The inner pytest; the controller if it has xdist workers.
        folder: The inner run's TMPDIR, where its session makes its own folder.
        homes: Every folder in which its processes may work.
    """

    process: subprocess.Popen[str]
    folder: Path
    homes: list[Path]

    def wait_until_ready(self) -> dict[str, Any]:
        """Return what the case told, as soon as everything that it brings up is there."""
        told = told_file(self.folder)
        wait_for(lambda: self.process.poll() is not None or told.exists(), LIMIT)
        assert told.exists(), self.finish()[1]
        found: dict[str, Any] = json.loads(told.read_text())
        self.homes.append(MEMORY / found["session"])
        return found

    def end(self, number: int) -> int:
        """Send a signal to pytest alone, as ``timeout`` and the kernel do, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT)

    def finish(self) -> tuple[int, str]:
        """Return the exit code and the output of a run that ends by itself."""
        output = self.process.communicate(timeout=LIMIT)[0]
        return self.process.returncode, output

    def processes(self) -> list[Process]:
        """Return all live processes that were started for this run or work in its folder."""

        def mentions(seen: Seen) -> bool:
            texts = (seen.directory, *seen.environment.values())
            return any(str(home) in text for home in self.homes for text in texts)

        return [process for process in matching(mentions) if process.alive()]

    def assert_nothing_is_left(self) -> None:
        """Wait for the last process and the last file to go."""
        wait_for(lambda: not self.processes() and not self._files(), LIMIT)
        assert self.processes() == []
        assert self._files() == []

    def _files(self) -> list[Path]:
        return [path for home in self.homes if home.exists() for path in home.iterdir()]


@contextlib.contextmanager
def inner_pytest(*arguments: str, cwd: Path | None = None, **environment: str) -> Iterator[Inner]:
    """Run pytest over the project's tests in a process of its own, with a temporary folder of its own."""
    # Not below tmp_path: the path of a Slurm's sockets would be too long.
    folder = Path(tempfile.mkdtemp(prefix="i-"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={PROJECT}", *arguments],
        env={**inherited, **environment, "TMPDIR": str(folder)},
        cwd=cwd or PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    inner = Inner(process, folder, [folder])
    try:
        yield inner
    finally:
        process.kill()
        process.communicate()
        end(inner.processes(), grace=1.0)
        for beside in (told_file(folder), witness_file(folder)):
            beside.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
