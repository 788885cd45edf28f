"""``-m``: plan every run the command line describes, and launch its unfinished shards as the tasks of one array."""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from tqdm import tqdm

from jobs import slurm
from jobs.atomic import write_json
from jobs.attempt import journals
from jobs.dryrun import describe
from jobs.errors import BadInput, Unfinished
from jobs.launcher import check_ranks, make_launcher
from jobs.options import read_options
from jobs.plan import format_shards, parse_shards
from jobs.prepare import Prepared, check_cpu, create, prepare, resolve_devices
from jobs.rundir import RunDir
from jobs.summary import conclude
from jobs.warn import warn

POLL = 3.0  # seconds between looks at the queue
GONE = 3  # looks in a row at which none of our jobs is in the queue, before that is believed
AT_ONCE = ("basic", "joblib", "submitit_local")  # launchers with no queue: one task a worker, not one a shard


@dataclass(frozen=True)
class Task:
    """One job of the array: some shards of one run, as Hydra overrides."""

    run: Path
    shards: list[int]
    overrides: list[str]


def fan_out(context: HydraContext, task_function: TaskFunction, config: DictConfig, arguments: list[str]) -> None:
    """Plan, launch, wait, summarise.

    Raises:
        BadInput: any run's config is refused; then nothing is launched.
        SystemExit: with the command's exit code.
    """
    launcher_name = str(config.hydra.runtime.choices["hydra/launcher"])
    on_slurm = launcher_name == "submitit_slurm"
    if on_slurm:
        slurm.require()
        slurm.drop_allocation_variables()
    runs = _compose_runs(context, config, arguments)
    prepared = [prepare(cfg) for _, cfg in runs]
    check_ranks(config, prepared)
    for one in prepared:
        warn(one)
    if any(one.options.dry_run for one in prepared):
        print("\n".join(map(describe, prepared)))
        sys.exit(0)
    for one in prepared:
        if launcher_name in AT_ONCE:  # the tasks run on this machine
            resolve_devices(one.options)
        elif one.options.device == "cpu" or (one.options.device == "auto" and not one.options.model["gpus"]):
            check_cpu(one.options)
        one.options.weights.check()
    live = slurm.live_jobs() if on_slurm else None
    queued = [queued_before(one.run, live or set()) for one in prepared]
    asked = [one.unfinished() for one in prepared]
    left = [_not_begun(*each, live) for each in zip(prepared, asked, queued, strict=True)]
    tasks = _tasks(runs, prepared, left, launcher_name)
    paths = [one.run.path for one in prepared]
    if len(set(paths)) < len(paths):
        raise BadInput(
            "two combinations of this sweep would share a directory: sweep them apart, each with an exp_name"
        )
    for one, (_, cfg) in zip(prepared, runs, strict=True):
        create(one, cfg)
    problems: list[str] = []
    earlier = {job for jobs in queued for job in jobs}
    if earlier:
        print(f"{len(earlier)} tasks of an earlier launch are still in the queue; waiting for them too", flush=True)
    if tasks:
        folder = _launch_folder(prepared, tasks)
        launcher = make_launcher(context, task_function, config, folder, prepared)
        print(f"launching {len(tasks)} tasks for {sum(map(len, left))} shards; logs: {folder}", flush=True)
        jobs = [task.overrides for task in tasks]
        if on_slurm:
            problems = _watch_slurm(prepared, earlier, folder, lambda: _launch(launcher, jobs))
        else:
            problems = _launch(launcher, jobs)
            _wait_for_living(prepared)
    elif earlier:
        _watch_slurm(prepared, earlier)
    sys.exit(conclude(list(zip(prepared, asked, strict=True)), problems))


def _not_begun(prepared: Prepared, asked: list[int], queued: dict[str, list[int]], live: set[str] | None) -> list[int]:
    """Shards that neither a living attempt nor a task in the queue is for; ``live`` is None where no queue answers."""
    busy = {shard for shards in queued.values() for shard in shards}
    for journal in journals(prepared.run):
        job = journal.header["slurm_job"]
        # The queue knows at once that a task was killed on another node; the heartbeat's age only later.
        if journal.alive() and (not job or live is None or job in live):
            busy.add(journal.header["shard"])
    return [shard for shard in asked if shard not in busy]


def _compose_runs(
    context: HydraContext, config: DictConfig, arguments: list[str]
) -> list[tuple[list[str], DictConfig]]:
    """Expand sweep arguments; each combination is a run in a directory of its own."""
    loader = context.config_loader
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    if "exp_name" in swept:
        raise BadInput("exp_name cannot be swept, as -m names the run of each combination itself: give one value")
    if "shards" in swept:
        raise BadInput("shards cannot be swept, as -m gives each task its own: write one list, like shards=[0-3,7]")
    runs = []
    for combination in BasicSweeper.split_arguments(overrides, None)[0]:
        cfg = loader.load_sweep_config(config, combination)
        if swept:
            parts = [item for item in combination if item.partition("=")[0] in swept]
            suffix = re.sub(r"[^\w.=,+-]", "_", ",".join(parts))
            name = f"{read_options(cfg).run_path.name}--{suffix}"
            combination = [
                *(item for item in combination if not item.startswith("exp_name=")),
                f"exp_name='{name}'",
            ]
            cfg = loader.load_sweep_config(config, combination)
        runs.append((combination, cfg))
    return runs


def queued_before(run: RunDir, live: set[str]) -> dict[str, list[int]]:
    """Job id -> shards of the tasks of earlier launches of this run that are still in the queue."""
    own = run.path.absolute()
    queued = {}
    for home in (own, own.parent):  # a sweep's launches are logged beside its runs
        for listing in home.glob("logs/launch-*/tasks.json"):
            tasks = json.loads(listing.read_text())
            for job in job_ids(listing.parent) & live:
                task = tasks[int(job.partition("_")[2] or 0)]
                if task["run"] == str(own):
                    queued[job] = parse_shards(task["shards"], sys.maxsize)
    return queued


def job_ids(folder: Path) -> set[str]:
    """Ids of the tasks submitted from a launch folder: submitit makes a folder for each.

    ``12_0``, ``12_1``, ... of an array, ``12`` of a single job. An array's base id has a folder too, but squeue
    never lists it.
    """
    return {path.name for path in folder.iterdir() if re.fullmatch(r"\d+(_\d+)?", path.name)}


def _tasks(
    runs: Sequence[tuple[list[str], DictConfig]],
    prepared: list[Prepared],
    left: list[list[int]],
    launcher: str,
) -> list[Task]:
    """Cut each run's unfinished shards into tasks.

    Raises:
        BadInput: the shards_per_task asked for makes an array longer than the cluster takes.
    """
    total = sum(map(len, left))
    limit = slurm.array_limit() if launcher == "submitit_slurm" else max(total, 1)
    asked = prepared[0].options.shards_per_task
    if (runs_left := sum(bool(shards) for shards in left)) > limit:
        raise BadInput(
            f"this sweep has {runs_left} runs and the cluster takes {limit} tasks in an array: sweep fewer values"
        )
    size = asked or 1
    if not asked and launcher in AT_ONCE:
        workers = 1 if launcher == "basic" else prepared[0].options.workers
        size = max(1, -(-total // workers))
    while (count := sum(-(-len(shards) // size) for shards in left)) > limit:
        if asked:
            raise BadInput(
                f"shards_per_task={asked} makes an array of {count} tasks where this cluster takes {limit}: "
                "use a larger shards_per_task, or leave it out"
            )
        size += max(1, size * (count - limit) // (2 * limit))
    return [
        Task(
            one.run.path,
            chunk,
            [*(item for item in overrides if not item.startswith("shards=")), _shards_override(chunk)],
        )
        for (overrides, _), one, shards in zip(runs, prepared, left, strict=True)
        for chunk in (shards[start : start + size] for start in range(0, len(shards), size))
    ]


def _shards_override(shards: list[int]) -> str:
    return f"shards='{format_shards(shards)}'"


def _launch_folder(prepared: list[Prepared], tasks: list[Task]) -> Path:
    """Make the folder of this launch's logs: in the run's own, or beside the runs of a sweep."""
    own = prepared[0].run.path.absolute()
    home = own if len(prepared) == 1 else own.parent
    folder = home / "logs" / f"launch-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}"
    folder.mkdir(parents=True)
    listing = [{"run": str(task.run.absolute()), "shards": format_shards(task.shards)} for task in tasks]
    write_json(folder / "tasks.json", listing)
    return folder


def _launch(launcher: Any, jobs: list[list[str]]) -> list[str]:
    """Launch and wait; what went wrong in a task is told from disk by the summary, the rest is returned."""
    problems: list[str] = []
    try:
        for result in launcher.launch(jobs, initial_job_idx=0):
            try:
                _ = result.return_value  # raises what the task raised
            except Unfinished:
                pass
            except Exception as error:
                problems.append(f"a task failed: {type(error).__name__}: {_first_line(error)}")
    except Exception as error:
        problems.append(f"a task has no result: {type(error).__name__}: {_first_line(error)}")
    return sorted(set(problems))


def _wait_for_living(prepared: list[Prepared]) -> None:
    """The launcher raises at the first killed task; the others go on, and the summary must not be ahead of them."""
    while any(journal.alive() for one in prepared for journal in journals(one.run)):
        time.sleep(POLL)


def _watch_slurm(
    prepared: list[Prepared],
    earlier: set[str],
    folder: Path | None = None,
    launch: Callable[[], list[str]] = list,
) -> list[str]:
    """Launch, and wait until none of our jobs is in the queue.

    The launcher is left waiting in a thread and not relied on: it raises at the first killed job while the others go
    on, learns of a job without a result only minutes later, and never where there is no accounting.
    """
    problems: list[str] = []
    thread = threading.Thread(target=lambda: problems.extend(launch()), daemon=True)
    thread.start()
    misses = 0
    with tqdm(total=sum(one.plan.num_shards for one in prepared), unit="shard") as bar:
        while misses < GONE:
            thread.join(POLL)
            ids = earlier | (job_ids(folder) if folder else set())
            live = slurm.live_jobs()
            if live is not None and not ids & live:  # no answer from the controller says nothing about our jobs
                misses = misses + bool(ids) if thread.is_alive() else GONE
            elif live:
                misses = 0
            bar.update(sum(len(one.run.done_shards()) for one in prepared) - bar.n)
            bar.set_postfix_str(f"{len(ids & (live or set()))} tasks in the queue")
    return problems


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
