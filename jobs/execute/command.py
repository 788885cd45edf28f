"""What ``python -m jobs.generate`` does without ``-m``: the whole run on this machine."""

import os
import sys
import time
from functools import partial
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jobs.base.errors import BadInput, refuse
from jobs.base.times import SPEAKS
from jobs.execute.aside import call_aside
from jobs.execute.container import check_container
from jobs.execute.filling import fill
from jobs.execute.halt import Halt
from jobs.execute.inprocess import Ranked
from jobs.execute.local import prepare_workers
from jobs.execute.logs import start_logging, task_log
from jobs.execute.pool import run_pool
from jobs.execute.resources import check_leaving
from jobs.parallel.ranks import Member, launched_member
from jobs.report.dryrun import describe
from jobs.report.long_prompts import long_prompts
from jobs.report.summary import conclude
from jobs.report.warn import warn
from jobs.run.devices import worker_devices
from jobs.run.open import create, open_run
from jobs.run.run import Run
from jobs.store.journal import journals


def run_command(cfg: DictConfig) -> None:
    """Make what is left of a run, print the summary, and exit with the command's code.

    Raises:
        SystemExit: always.
    """
    try:
        _run(cfg)
    except BadInput as error:  # not later: Hydra prints a line of its own above an exception on its way out
        _leave_it_to_the_first()
        refuse(str(error))


def _run(cfg: DictConfig) -> NoReturn:
    _refuse_idle_launcher()
    run = open_run(cfg, fill)
    check_container([run], {}, set())
    check_leaving({}, [run])
    member = launched_member(run.options.parallel, run.directory.work)
    _refuse_copies(run)
    if member and member.rank:
        _follow(run, member)
    if run.options.dry_run:
        warn(run)
        from jobs.rehearse.describe import rehearsed  # which imports torch: no other command waits for that

        print(describe(run), flush=True)
        print("\n".join(rehearsed(run)))
        sys.exit(0)
    shards = run.unfinished()
    problems: list[str] = []
    if shards:
        devices = [] if member else worker_devices(run.options)
        run.checkpoint.check()  # last of the checks: mending it takes longest
        if devices:
            every = [device for worker in devices for device in worker]
            prepare_workers(run, every)
            warn(run, partial(call_aside, every, long_prompts))
        else:
            warn(run)
        create(run)
        shards = _others_last(run, shards)
        if member:
            ranked = Ranked(run, shards, member, log_path=task_log(run), halt=Halt())
            ranked.work()
            problems = ranked.problems
        else:
            problems = run_pool(run, shards, devices)
    sys.exit(conclude([(run, shards)], problems))


def _follow(run: Run, member: Member) -> NoReturn:
    """Be one of torchrun's further ranks, which say nothing."""
    if not run.options.dry_run and (shards := run.unfinished()):
        start_logging()
        run.checkpoint.check()
        Ranked(run, shards, member, log_path="", halt=Halt()).work()
    sys.exit(0)


def _leave_it_to_the_first() -> None:
    """Of torchrun's processes one on each machine says what is wrong, of srun's one.

    A launcher ends the others as soon as one has ended, so the first has to have spoken before any of them does.
    Torchrun's processes that nobody ends speak after all: then what is wrong is wrong for them alone.
    """
    if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        return
    time.sleep(SPEAKS)
    if "LOCAL_RANK" not in os.environ:
        sys.exit(2)


def _refuse_idle_launcher() -> None:
    """Whoever names a launcher means to launch: do not begin on, say, a login node because ``-m`` was forgotten."""
    for override in HydraConfig.get().overrides.hydra:
        if override.startswith("hydra/launcher=") and override != "hydra/launcher=basic":
            raise BadInput(f"{override} has no effect without -m: add -m, or leave it out")


def _refuse_copies(run: Run) -> None:
    """``srun -n2`` starts the command twice, and both would make the same shards."""
    copies = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if copies > 1 and run.options.shards is None and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise BadInput(
            f"srun started this command {copies} times for the same shards: use -m hydra/launcher=submitit_slurm, "
            "start it once (srun -n1), or give each its own shards=[...]"
        )


def _others_last(run: Run, shards: list[int]) -> list[int]:
    """Begin with what nobody is at; a shard another command is making is probably done when its turn comes."""
    busy = {journal.header["shard"] for journal in journals(run.directory) if journal.alive()}
    return sorted(shards, key=lambda shard: shard in busy)
