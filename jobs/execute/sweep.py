"""``-m``: plan every run the command line describes, and launch its unfinished shards as tasks."""

import hashlib
import itertools
import re
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig

from jobs.base.errors import BadInput
from jobs.execute.choose import make_launcher
from jobs.execute.container import check_container
from jobs.execute.fanout import work_through
from jobs.execute.filling import fill
from jobs.execute.launch import Launcher
from jobs.execute.resources import check_leaving, check_resources
from jobs.options.texts import quoted, unquoted
from jobs.report.dryrun import describe
from jobs.report.summary import conclude
from jobs.report.warn import warn
from jobs.run.devices import check_cpu, worker_devices
from jobs.run.open import create, open_run
from jobs.run.read_options import read_options
from jobs.run.run import Run

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
    runs = [open_run(cfg, partial(fill, launcher=launcher)) for cfg in _combinations(context, config, arguments)]
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
    outcome = work_through(launcher, runs)
    sys.exit(conclude([*zip(runs, outcome.asked, strict=True)], outcome.problems, outcome.forward))


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
