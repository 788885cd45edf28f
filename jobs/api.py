"""The commands as functions, for notebooks and for tasks of Prefect, Airflow, Dagster and their like.

    run = api.generate(api.Options(prompt_file="my.csv", exp_name="mine", samples_per_prompt=4), model="flux")
    api.export([run], "my-dataset", api.ExportOptions(split="0.98,0.01,0.01"))

What a command says by its exit code comes as an exception: ``BadInput`` is 2, ``Unfinished`` is 1. A call that was
interrupted, killed or unfinished goes on when it is made again. The calling process stays as it was: what makes
samples is the command itself, in a process of its own, which ends with the call.
"""

import io
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput, Unfinished
from jobs.base.times import ENDS
from jobs.options.container import Container
from jobs.options.degrees import Degrees
from jobs.options.export import ExportOptions, read_export
from jobs.options.model import ModelOptions
from jobs.options.schema import WORK_PATH, AlgoOptions, Options
from jobs.options.score import ScoreOptions
from jobs.options.spelling import spelled, words_of
from jobs.report.status import Status, read_status
from jobs.store.mirror import opened

__all__ = [
    "AlgoOptions",
    "BadInput",
    "Container",
    "Degrees",
    "ExportOptions",
    "Options",
    "ScoreOptions",
    "Status",
    "Unfinished",
    "export",
    "generate",
    "score",
    "status",
]

Say = Callable[[str], None]
PathLike = str | os.PathLike[str]

log = logging.getLogger(__name__)

_TOLD = 40  # last lines of a command that an exception repeats
_BAR = "10"  # seconds between two lines of progress


def generate(
    options: Options,
    *,
    model: str = "demo",
    algo: str = "spectrum",
    changes: Mapping[str, Any] | None = None,
    launcher: str | None = None,
    config_dir: PathLike | None = None,
    say: Say = log.info,
) -> Path:
    """Make a run, or what is left of it, as ``python -m jobs.generate`` does.

    Args:
        options: what is other than the defaults; ``exp_name``, which names the run's directory, has to be.
        model: the name of a file in conf/model.
        algo: spectrum, or nocache.
        changes: further options by their full names, such as ``{"model.dtype": "float16"}``, and with a launcher what
            it is to ask for, such as ``{"hydra.launcher.partition": "gpu"}``.
        launcher: as after ``-m hydra/launcher=``, such as submitit_slurm; None: the processes of this machine.
        config_dir: a folder with ``model/NAME.yaml`` of your own.
        say: is given each line that the command prints, and its progress every ten seconds.

    Returns:
        The run's directory; of a run in a store the one where it works. Every shard that was asked for is done and none
        of its samples failed, unless the options were to do less: ``dry_run``, ``wait=False``.

    Raises:
        BadInput: the options or the prompt file need mending; nothing was written.
        Unfinished: something is left or failed, and the last lines of the command say what.
    """
    if not options.exp_name:
        raise BadInput("exp_name is missing: give the run a name, like Options(exp_name='mine')")
    if options.model != ModelOptions():
        raise BadInput("Options.model is of no use here: name the model, like model='flux', and what is to change of "
                       "it, like changes={'model.dtype': 'float16'}")  # fmt: skip
    folder = ["--config-dir", os.fspath(config_dir)] if config_dir else []
    chosen = [f"model={model}", f"algo={algo}", *words_of(options)]
    _command("jobs.generate", [*folder, *chosen, *_changed(changes), *_launched(launcher)], say)
    stored = "://" in options.output_base_path
    return Path(options.work_path or WORK_PATH if stored else options.output_base_path).expanduser() / options.exp_name


def status(run: PathLike) -> Status:
    """Return what is done, running, failed and left of a run, as ``python -m jobs.status`` tells it.

    Args:
        run: its directory, or its address in a store.

    Raises:
        BadInput: there is no run.
    """
    with opened(os.fspath(run)) as found:
        return read_status(found)


def score(
    run: PathLike,
    options: ScoreOptions | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    launcher: str | None = None,
    say: Say = log.info,
) -> Path:
    """Measure the samples of a run, or what is left of them, as ``python -m jobs.score`` does.

    Args:
        run: its directory, or its address in a store.
        options: what is measured.
        changes: options of ``generate`` that say where work is done, such as ``{"ngpu": 4}``, and with a launcher what
            it is to ask for.
        launcher: see ``generate``.
        say: see ``generate``.

    Returns:
        The run's directory, of an address the one where it works (``work_path``); all of its samples are scored, unless
        ``wait`` was false.

    Raises:
        BadInput: the options need mending; nothing was written.
        Unfinished: some samples are not scored, those that the run is still to make among them.
    """
    place = os.fspath(run)
    stored = "://" in place
    given = {name: value for name, value in vars(options or ScoreOptions()).items() if value is not None}
    words = [place if stored else os.path.abspath(place), *(f"{name}={value}" for name, value in given.items())]
    _command("jobs.score", [*words, *_changed(changes), *_launched(launcher)], say)
    if not stored:
        return Path(run)
    work_path = (changes or {}).get("work_path") or WORK_PATH
    return Path(work_path).expanduser() / place.rstrip("/").rpartition("/")[2]


def export(
    runs: PathLike | Sequence[PathLike], dest: PathLike, options: ExportOptions | None = None, *, say: Say = log.info
) -> Path:
    """Make a data set for others of finished runs, or go on with it, as ``python -m jobs.export`` does.

    Args:
        runs: their directories, or addresses in a store; or that of a single one.
        dest: a new folder, or that of this very export.
        options: how.
        say: is given lines about what was done.

    Returns:
        ``dest``, which is whole.

    Raises:
        BadInput: it cannot be made or copied; the same call goes on once that is mended.
    """
    from jobs.export.export import export as make  # imports pyarrow, for which a scheduler need not wait

    paths = [runs] if isinstance(runs, (str, os.PathLike)) else runs
    make([os.fspath(path) for path in paths], os.fspath(dest), read_export({**vars(options or ExportOptions())}), say)
    return Path(dest)


def _changed(changes: Mapping[str, Any] | None) -> list[str]:
    return [f"{name}={spelled(value)}" for name, value in (changes or {}).items()]


def _launched(launcher: str | None) -> list[str]:
    return ["-m", f"hydra/launcher={launcher}"] if launcher else []


def _command(module: str, words: list[str], say: Say) -> None:
    """Run a command in a process of its own, and raise what its exit code says."""
    environment = {"TQDM_MININTERVAL": _BAR, **os.environ}
    printed: deque[str] = deque(maxlen=_TOLD)
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    ) as process:
        try:
            assert process.stdout
            in_bar = False  # progress is drawn on one line: each of its states begins with a carriage return
            for line in io.TextIOWrapper(process.stdout, "utf-8", "replace", newline=""):
                if text := line.rstrip():
                    say(text)
                    printed.extend([] if in_bar else [text])
                in_bar = line.endswith("\r")
            process.wait()
        except BaseException:  # the caller was interrupted or cancelled, or cannot listen
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDS)
            process.kill()
            raise
    if process.returncode == 2:
        sentence = next((text for text in reversed(printed) if text.startswith("error: ")), "\n".join(printed))
        raise BadInput(sentence.removeprefix("error: "))
    if process.returncode < 0:
        printed.append(f"the command was killed by signal {-process.returncode}: the same call goes on")
    if process.returncode:
        raise Unfinished("\n".join(printed))
