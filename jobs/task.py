"""What Hydra runs: the whole job on this machine, or one task of a launched job."""

import atexit
import logging
import os
import sys
import time

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from jobs.attempt import journals
from jobs.dryrun import describe
from jobs.errors import BadInput, Unfinished, refuse
from jobs.local import run_local, start_logging
from jobs.prepare import Prepared, create, prepare, resolve_devices, task_device
from jobs.warn import warn

log = logging.getLogger(__name__)

TASK_FAILED = 75  # exit code of a cluster task that left work behind


def run(cfg: DictConfig) -> None:
    """Entry point of ``hydra.main``; see the module docstring.

    Raises:
        BadInput: before anything costly, in a launched task.
        Unfinished: samples or shards are left over.
        SystemExit: with the command's exit code, when it ran here.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _run_task(cfg)
    else:
        try:
            _run_here(cfg)
        except BadInput as error:  # not later: Hydra prints a line of its own above an exception on its way out
            refuse(str(error))


def _run_here(cfg: DictConfig) -> None:
    from jobs.summary import conclude

    _refuse_idle_launcher()
    prepared = prepare(cfg)
    warn(prepared)
    if prepared.options.dry_run:
        print(describe(prepared))
        sys.exit(0)
    shards = prepared.unfinished()
    problems = []
    if shards:
        devices = resolve_devices(prepared.options)
        prepared.options.weights.check()  # last of the checks: mending it takes longest
        create(prepared, cfg)
        problems = run_local(prepared, _others_last(prepared, shards), devices)
    sys.exit(conclude([(prepared, shards)], problems))


def _refuse_idle_launcher() -> None:
    """Whoever names a launcher means to launch: do not begin on, say, a login node because ``-m`` was forgotten."""
    for override in HydraConfig.get().overrides.hydra:
        if override.startswith("hydra/launcher=") and override != "hydra/launcher=basic":
            raise BadInput(f"{override} launches nothing without -m: add -m, or leave {override} out")


def _others_last(prepared: Prepared, shards: list[int]) -> list[int]:
    """Begin with what nobody is at; a shard another command is making is probably done when its turn comes."""
    busy = {journal.header["shard"] for journal in journals(prepared.run) if journal.alive()}
    return sorted(shards, key=lambda shard: shard in busy)


def _run_task(cfg: DictConfig) -> None:
    try:
        _work(prepare(cfg))
    except BaseException:
        log.exception("this task left work behind")
        _fail_truthfully()
        raise


def _work(prepared: Prepared) -> None:
    """Work this task's shards in this process, on its own GPU."""
    from jobs.worker import work

    log_path = _task_log(prepared)
    shards = prepared.unfinished()
    log.info("working shards %s", shards)
    problems: list[str] = []

    def report(event: str, shard: int, detail: str) -> None:
        if event != "sample":
            log.info("shard %d %s %s", shard, event, detail)
        if event in ("failed", "held"):
            problems.append(f"shard {shard} {event} {detail}")

    try:
        device = task_device(prepared.options, HydraConfig.get().job.num)
        prepared.options.weights.check()
        waited = work(
            prepared.options, prepared.plan, prepared.run, shards, device=device, log_path=log_path, report=report
        )
    except Exception as error:
        prepared.run.record_task_failure(shards, f"{type(error).__name__}: {error}", log_path)
        raise
    log.info("the generator waited for encoding or writing %.2f %% of the time", 100 * waited)
    if problems:
        raise Unfinished("; ".join(problems))


def _task_log(prepared: Prepared) -> str:
    """Where this task's log goes; a submitit job already has one."""
    start_logging()
    if "SUBMITIT_EXECUTOR" in os.environ:
        import submitit

        return str(submitit.JobEnvironment().paths.stderr)
    path = str(prepared.run.logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-task.log")
    logging.getLogger().addHandler(logging.FileHandler(path))
    return path


def _fail_truthfully() -> None:
    """Make a submitit job end with a non-zero code.

    Hydra turns an exception into a result and submitit calls that a success. Leaving through ``os._exit`` at the very
    end keeps the result file, which the launcher waits for, and gives Slurm the true state.
    """
    if "SUBMITIT_EXECUTOR" in os.environ:

        def leave() -> None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(TASK_FAILED)

        atexit.register(leave)
