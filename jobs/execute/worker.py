"""One process with one loaded model: makes shards, alone or as the leader of a group, or follows such a leader."""

import contextlib
import hashlib
import importlib
import json
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import psutil

from jobs import __version__
from jobs.base.errors import BadInput
from jobs.base.uncollected import uncollected
from jobs.base.unread import leave_scipy_unread
from jobs.execute import timings
from jobs.execute.alike import Alike
from jobs.execute.audit import Audit
from jobs.execute.begun import mark_begun
from jobs.execute.calibration import calibrated
from jobs.execute.halt import Halt
from jobs.execute.memory import Sparing
from jobs.execute.overlap import Overlap
from jobs.execute.pace import Pace
from jobs.execute.room import Room
from jobs.execute.shard import make_shard
from jobs.model.environment import environment, versions
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline
from jobs.model.provenance import provenance
from jobs.parallel.ranks import Member
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.journal import LOST
from jobs.store.mirror import is_published
from jobs.store.writer import Report, Writer


def generate_shards(
    run: Run,
    shards: Iterable[int],
    *,
    device: str,
    log_path: str,
    report: Report,
    halt: Halt | None = None,
    member: Member | None = None,
    on_loss: Callable[[str], None] | None = None,
) -> float:
    """Load the model once, then make and publish each shard, until it is to stop.

    Args:
        run: the run.
        shards: asked for one at a time, as late as possible.
        device: torch device.
        log_path: where this process logs, for ``jobs.status``.
        report: see ``jobs.store.writer.Writer``.
        halt: says before each batch whether to stop; the attempt in hand is left in order then.
        member: this process's place, where it leads a group; None if it works alone.
        on_loss: called before the group's loss of a rank ends this process.

    Returns:
        Share of the time that the generating thread waited for encoding or writing.

    Raises:
        Exception: the machine, the model or the disk failed; what was written so far is taken over next time.
    """
    current: list[Attempt] = []
    halt = halt or Halt()

    def lost(cause: str) -> None:
        for attempt in current:
            attempt.end(LOST, cause)  # for jobs.status
        if on_loss:
            on_loss(cause)

    begun = time.time()
    run = calibrated(run, device, report, halt)
    calibrating = time.time() - begun
    if halt.why:
        return 0.0
    with _group(run, member, device, lost) as group:
        loaded = load(run, device, group)
        overlap = Overlap(loaded, Room() if device.startswith("cuda") else None)
        pipeline = Sparing(loaded, run.options.oom, device, overlap)
        mark_begun()
        # Imports count as loading: so does whatever a GPU waits for before its first batch.
        loading = time.time() - psutil.Process().create_time() - calibrating
        first = {"loading": loading, "calibrating": calibrating}
        audit = Audit(run, pipeline)
        audit.check()
        common = common_of(run, loaded, device)
        fingerprint = hashlib.sha256(json.dumps(common).encode()).hexdigest()[:16]
        name = f"{common['environment']['name']} x{group.size}" if group else common["environment"]["name"]
        batch_size = run.options.batch_size
        writer = Writer(
            run.layout,
            run.media,
            common,
            sample_attempts=run.options.sample_attempts,
            # Of clips only what hides one batch's encoding: a second of 720p takes 66 MB.
            in_flight=batch_size + 1 if run.makes_clips else 4 * batch_size + 4,
            report=report,
        )
        pace, alike = Pace(), Alike(run)
        start = time.perf_counter()
        try:
            for shard in shards:
                if halt.why:
                    break
                if not is_published(run.directory, shard):
                    attempt = Attempt(
                        run.directory,
                        shard,
                        fingerprint=fingerprint,
                        device=name,
                        log=log_path,
                        ranks=group.size if group else 1,
                        gpu=device.startswith("cuda"),
                        **first,
                    )
                    first = {}
                    # The writer may still be at the one before.
                    current[:] = [*(one for one in current if one.open), attempt]
                    make_shard(pipeline, run, attempt, writer, halt, pace, audit, overlap, alike)
        finally:
            overlap.close()
            writer.close()
        if pace.sample:
            timings.keep(run, name, sample=pace.sample, load=loading)
        return writer.waited / (time.perf_counter() - start)


def follow_leader(run: Run, *, device: str, member: Member, on_loss: Callable[[str], None] | None = None) -> None:
    """Take part in the batches that rank 0 of a group makes, until it has no more.

    Args:
        run: the run.
        device: torch device.
        member: this process's place.
        on_loss: see ``generate_shards``.
    """
    run = calibrated(run, device, lambda *_: None)
    with _group(run, member, device, on_loss) as group:
        pipeline = load(run, device, group)
        for indices in group.announced():
            with contextlib.suppress(Exception):  # rank 0 met it as well, or the group would have ended
                pipeline([run.layout.sample(index) for index in indices])


def common_of(run: Run, pipeline: BatchPipeline, device: str) -> dict[str, Any]:
    """Return what the json of every sample that this process makes says alike."""
    return {
        "run": run.name,
        "run_id": run.id,
        **provenance(run.options.model, run.checkpoint, pipeline.pipeline),
        "environment": environment(run.options, device),
        "version": __version__,
        "versions": versions(run.makes_clips),
    }


def _group(
    run: Run, member: Member | None, device: str, on_loss: Callable[[str], None] | None
) -> AbstractContextManager[Any]:
    """Return the group of this process; a context of None where it has none."""
    if member is None:
        return contextlib.nullcontext()
    from jobs.parallel.group import Group

    return Group(member, device=device, digest=_digest(run), on_loss=on_loss or (lambda cause: None))


def _digest(run: Run) -> str:
    """Name everything on which the ranks of a group must agree, the plan of denoising steps too."""
    steps = run.forecast.plan(run.options.num_inference_steps).digest() if run.forecast else None
    agreed = [run.identity, versions(run.makes_clips), steps]
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()


def load(run: Run, device: str, group: Any) -> BatchPipeline:
    """Load a run's pipeline onto a device, for a process of that group or for one alone."""
    options = run.options
    if run.forecast and run.forecast.pending:
        raise BadInput(f"{run.directory.calibration} is missing: restore it")
    if device == "cpu" and options.model.compile == "none":
        importlib.import_module("jobs.execute.preload")  # what is forked has it; ranks that a launcher started have not
    else:
        leave_scipy_unread()
    with uncollected():
        import torch

        torch.set_num_threads(options.cpu_threads)
        return load_pipeline(
            options.model,
            run.forecast,
            run.checkpoint,
            device=device,
            degrees=options.parallel,
            group=group,
            keep_flagged=options.flagged == "keep",
        )
