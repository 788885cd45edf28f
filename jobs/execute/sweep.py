"""``-m``: plan every run the command line describes, and launch its unfinished shards as tasks."""

import contextlib
import hashlib
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig

from jobs.base.errors import BadInput
from jobs.execute.choose import make_launcher
from jobs.execute.container import check_container
from jobs.execute.launch import Launcher
from jobs.execute.launches import InQueue, Launch, spelled
from jobs.execute.plan import Unmade, plan_tasks
from jobs.execute.resources import check_leaving, check_resources
from jobs.options.texts import quoted, unquoted
from jobs.report.dryrun import describe
from jobs.report.progress import Progress
from jobs.report.summary import conclude
from jobs.report.warn import warn
from jobs.run.devices import check_cpu, worker_devices
from jobs.run.open import create, open_run
from jobs.run.resolve import read_options
from jobs.run.run import Run
from jobs.store.journal import journals

IN_NAME = 40  # characters of a swept value in the name of its run


def fan_out(context: HydraContext, config: DictConfig, arguments: list[str]) -> NoReturn:
    """Plan, launch, wait, summarise.

    Args:
        context: Hydra's, to compose the configuration of each combination.
        config: the configuration without the sweep's options; its launcher is the one to use.
        arguments: the options of the command line.

    Raises:
        BadInput: any run's config is refused; then nothing is launched.
        SystemExit: with the command's exit code.
    """
    launcher = make_launcher(config)
    launcher.require()
    runs = [open_run(cfg) for cfg in _combinations(context, config, arguments)]
    check_resources(launcher, runs)
    check_container(runs, launcher.settings, launcher.given)
    check_leaving(launcher.settings, runs)
    if any(run.options.dry_run for run in runs):
        for run in runs:
            warn(run)
        print("\n".join(map(describe, runs)))
        sys.exit(0)
    for run in runs:
        _check_devices(run, launcher)
        run.checkpoint.check()
    if len({run.directory.path for run in runs}) < len(runs):
        raise BadInput(
            "two combinations of this sweep would share a directory: start one command for each, with its own exp_name"
        )
    launcher.check(runs)
    for run in runs:
        warn(run)
        create(run)
    with _written(), launcher.alone(runs):
        queued = launcher.queued(runs)
        unmade = find_unmade(runs, queued)
        tasks = plan_tasks(unmade, launcher)
        if queued.tasks:
            print(
                f"{len(queued.tasks)} tasks of an earlier command are still in the queue: waiting for them too",
                flush=True,
            )
        launch = Launch.begin(runs, tasks) if tasks else None
        if launch:
            shards = sum(len(task.shards) for task in tasks)
            print(f"launching {len(tasks)} tasks for {shards} shards; logs: {launch.folder}", flush=True)
        progress = Progress([(one.run, set(one.asked)) for one in unmade])
        before = progress.work()
        finish = launcher.start(unmade, tasks, launch)
    problems = finish()
    sys.exit(conclude([(one.run, one.asked) for one in unmade], problems, progress.work() > before))


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Make a sentence and code 1 of what goes wrong by now: code 2 says that nothing was written or submitted."""
    try:
        yield
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(
            f"error: not everything could be launched: {error.filename or 'the disk'}: {error.strerror}: "
            "mend that, and start the same command again",
            file=sys.stderr,
        )
        sys.exit(1)


def _combinations(context: HydraContext, config: DictConfig, arguments: list[str]) -> list[DictConfig]:
    """Expand sweep arguments; each combination is a run in a directory of its own."""
    loader = context.config_loader
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    if "exp_name" in swept:
        raise BadInput("exp_name cannot be swept, because -m names the run of each combination itself: give one value")
    if "shards" in swept:
        raise BadInput(
            "shards cannot be swept, because -m gives each task its own: write one list, like shards=[0-3,7]"
        )
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise BadInput(f"{override.input_line} names no values to sweep: write them, like algo.w=0.5,1")
    plain = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        for override in overrides
        if override.is_sweep_override()
    ]
    configs = []
    for combination in itertools.product(*choices):
        cfg = loader.load_sweep_config(config, [*plain, *combination])
        if swept:
            rest = [item for item in plain if not item.lstrip("+").startswith("exp_name=")]
            name = f"{Path(str(read_options(cfg).exp_name)).name}--{','.join(map(_in_name, combination))}"
            cfg = loader.load_sweep_config(config, [*rest, *combination, f"exp_name={quoted(name)}"])
        configs.append(cfg)
    return configs


def _in_name(option: str) -> str:
    """Return how a swept option stands in the name of its run: short, and without signs that paths cannot hold."""
    key, _, value = option.partition("=")
    text = unquoted(value)
    if len(text) > IN_NAME:  # a negative prompt, say
        text = f"{text[: IN_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return re.sub(r"[^\w.=,+-]", "_", f"{key}={text}")


def _check_devices(run: Run, launcher: Launcher) -> None:
    if launcher.on_this_machine:
        worker_devices(run.options)
    elif run.options.device == "cpu" or (run.options.device == "auto" and not run.options.model.gpus):
        check_cpu(run.options)


def find_unmade(runs: list[Run], queue: InQueue) -> list[Unmade]:
    """Return what is unfinished of each run, and what of that is nobody's by now."""
    found = []
    for run in runs:
        own = spelled(run.directory.path)
        busy = {shard for task in queue.tasks if task.run == own for shard in task.shards}
        for journal in journals(run.directory):
            job = journal.header["slurm_job"]
            # The queue knows at once that a task was killed on another node; the heartbeat's age only later.
            if journal.alive() and (not job or queue.jobs is None or job in queue.jobs):
                busy.add(journal.header["shard"])
        asked = run.unfinished()
        found.append(Unmade(run, asked, [shard for shard in asked if shard not in busy]))
    return found
