"""What Hydra runs: the whole job on this machine, or one task of a launched job."""

import atexit
import logging
import os
import sys
import time

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from jobs.attempt import journals
from jobs.dryrun import describe
from jobs.errors import BadInput, Unfinished, refuse
from jobs.local import run_local, start_logging
from jobs.options import Options
from jobs.parallel.ranks import Member, launched_member
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
            if os.environ.get("LOCAL_RANK", "0") != "0":  # of torchrun's processes, one on each machine says it
                sys.exit(2)
            refuse(str(error))


def _run_here(cfg: DictConfig) -> None:
    from jobs.summary import conclude

    _refuse_idle_launcher()
    prepared = prepare(cfg)
    member = launched_member(prepared.options.parallel, prepared.run.work)
    if member and member.rank:
        if not prepared.options.dry_run and (shards := prepared.unfinished()):
            start_logging()
            prepared.options.weights.check()
            _work_here(prepared, shards, member, log_path="")
        sys.exit(0)
    warn(prepared)
    if prepared.options.dry_run:
        print(describe(prepared))
        sys.exit(0)
    shards = prepared.unfinished()
    problems = []
    if shards:
        devices = [] if member else resolve_devices(prepared.options)
        prepared.options.weights.check()  # last of the checks: mending it takes longest
        create(prepared, cfg)
        shards = _others_last(prepared, shards)
        if member:
            start_logging()
            problems = _work_here(prepared, shards, member, _own_log(prepared))
        else:
            problems = run_local(prepared, shards, devices)
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
    """Work this task's shards: in this process on its own GPU, as a rank of a group, or with ranks of its own."""
    log_path = _task_log(prepared)
    shards = prepared.unfinished()
    log.info("working shards %s", shards)
    try:
        prepared.options.weights.check()
        member = launched_member(prepared.options.parallel, prepared.run.work)
        if member or prepared.options.parallel.size == 1:
            problems = _work_here(prepared, shards, member, log_path)
        else:
            problems = run_local(prepared, shards, [_devices_here(prepared.options)])
    except Exception as error:
        prepared.run.record_task_failure(shards, f"{type(error).__name__}: {error}", log_path)
        raise
    if problems:
        raise Unfinished("; ".join(problems))


def _work_here(prepared: Prepared, shards: list[int], member: Member | None, log_path: str) -> list[str]:
    """Work shards in this process, alone or as a rank; returns what went wrong with single shards and samples."""
    from jobs.worker import follow, work

    options, plan, run = prepared.options, prepared.plan, prepared.run
    problems: list[str] = []

    def report(event: str, shard: int, detail: str) -> None:
        if event != "sample":
            log.info("shard %d %s %s", shard, event, detail)
        if event in ("failed", "held"):
            problems.append(f"shard {shard} {event} {detail}")

    def on_loss(cause: str) -> None:
        run.record_task_failure(shards, cause, log_path)

    device = _devices_here(options)[member.local_rank if member else 0]
    if member and member.rank:
        follow(options, plan, device=device, member=member, on_loss=on_loss)
    else:
        waited = work(
            options, plan, run, shards, device=device, log_path=log_path, report=report, member=member, on_loss=on_loss
        )
        log.info("the generator waited for encoding or writing %.2f %% of the time", 100 * waited)
    return problems


def _devices_here(options: Options) -> list[str]:
    """The devices of this task's ranks; where tasks see all of a machine's GPUs, each task has its own."""
    job = HydraConfig.get().job
    number = 0 if OmegaConf.is_missing(job, "num") else job.num
    return [task_device(options, number * options.parallel.size + rank) for rank in range(options.parallel.size)]


def _task_log(prepared: Prepared) -> str:
    """Where this task's log goes; a submitit job already has one."""
    start_logging()
    if "SUBMITIT_EXECUTOR" in os.environ:
        import submitit

        return str(submitit.JobEnvironment().paths.stderr)
    return _own_log(prepared)


def _own_log(prepared: Prepared) -> str:
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
