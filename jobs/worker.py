"""One process with one loaded model, working through shards. The generator's loop, and nothing else."""

import contextlib
import hashlib
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from submitit.core.utils import UncompletedJobError

from jobs.algo import calibration_misfit, forecasting
from jobs.attempt import Attempt
from jobs.encode import ImageFormat, MediaFormat
from jobs.models import Generator, load, versions
from jobs.options import Options, deciding_algo, identity
from jobs.parallel.ranks import Member
from jobs.plan import Plan, Sample
from jobs.rundir import RunDir
from jobs.video import VideoFormat
from jobs.writer import Report, Writer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why there is no picture of a sample; no strike where the sample itself is not to blame."""

    reason: str
    strike: bool = True


Results = dict[int, np.ndarray | Failure]


def work(
    options: Options,
    plan: Plan,
    run: RunDir,
    shards: Iterable[int],
    *,
    device: str,
    log_path: str,
    report: Report,
    member: Member | None = None,
    on_loss: Callable[[str], None] | None = None,
) -> float:
    """Load the model once, then make and publish each shard.

    Args:
        shards: asked for one at a time, as late as possible.
        device: torch device.
        member: this process's place, where it leads a group; None if it works alone.
        on_loss: called before the group's loss of a rank ends this process.
        log_path: where this process logs, for ``jobs.status``.
        report: see ``jobs.writer.Writer``.

    Returns:
        Share of the time that the generator waited for encoding or writing.

    Raises:
        Exception: the machine, the model or the disk failed; what was written so far is taken over next time.
    """
    import torch

    current: list[Attempt] = []

    def lost(cause: str) -> None:
        for attempt in current:
            attempt.end("lost", cause)  # for jobs.status
        if on_loss:
            on_loss(cause)

    with _group(options, plan, member, device, lost) as group:
        generator = _load(options, device, group)
        common = _common(options, generator)
        fingerprint = hashlib.sha256(json.dumps([common, torch.device(device).type]).encode()).hexdigest()[:16]
        name = _device_name(device) + (f" x{group.size}" if group else "")
        writer = Writer(
            plan,
            _media_format(options),
            common,
            sample_attempts=options.sample_attempts,
            # Of clips only what hides one batch's encoding: a second of 720p takes 66 MB.
            in_flight=options.batch_size + 1 if options.makes_clips else 4 * options.batch_size + 4,
            report=report,
        )
        start = time.perf_counter()
        try:
            for shard in shards:
                if not run.is_done(shard):
                    # The writer may still be at the one before.
                    current[:] = [attempt for attempt in current if attempt.open]
                    current.append(Attempt(run, shard, fingerprint=fingerprint, device=name, log=log_path))
                    _make_shard(generator, plan, current[-1], writer, options.sample_attempts)
        finally:
            writer.close()
        return writer.waited / (time.perf_counter() - start)


def _common(options: Options, generator: Generator) -> dict[str, Any]:
    """What the json of every sample says alike."""
    return {
        "model": options.model["name"],
        "revision": options.weights.revision,
        "sampler": generator.sampler,
        "dtype": options.model["dtype"],
        "algo": _algo_used(options),
        "versions": versions(options.makes_clips),
    }


def follow(
    options: Options, plan: Plan, *, device: str, member: Member, on_loss: Callable[[str], None] | None = None
) -> None:
    """Take part in the batches that rank 0 of a group makes, until it has no more; ``work`` says of what."""
    with _group(options, plan, member, device, on_loss) as group:
        generator = _load(options, device, group)
        for indices in group.announced():
            with contextlib.suppress(Exception):  # rank 0 met it as well, or the group would have ended
                generator([plan.sample(index) for index in indices])


def _group(
    options: Options, plan: Plan, member: Member | None, device: str, on_loss: Callable[[str], None] | None
) -> AbstractContextManager[Any]:
    """The group of this process; None to work with where it has none."""
    if member is None:
        return contextlib.nullcontext()
    from jobs.parallel.group import Group

    return Group(member, device=device, digest=_digest(options, plan), on_loss=on_loss or (lambda cause: None))


def _digest(options: Options, plan: Plan) -> str:
    """Names everything on which the ranks of a group must agree, the plan of denoising steps too."""
    steps = None
    if options.algo["name"] != "nocache":
        chosen = forecasting(options.algo, options.model, options.weights.folder)
        steps = chosen.plan(options.num_inference_steps).digest()
    agreed = [identity(options, plan), versions(options.makes_clips), steps]
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()


def _load(options: Options, device: str, group: Any) -> Generator:
    import torch

    torch.set_num_threads(options.cpu_threads)
    assert options.weights.folder  # prepare made sure of it
    return load(
        options.model,
        options.algo,
        options.weights.folder,
        device=device,
        degrees=options.parallel,
        group=group,
    )


def _algo_used(options: Options) -> dict[str, Any]:
    """The algorithm as every sample's json tells it: without nulls, and as it was if its calibration did not fit."""
    algo = deciding_algo(options.algo)
    if calibration_misfit(options.algo, options.model, options.weights.folder):
        algo |= {"weights": "chebyshev", "calibration": None, "schedule": "window", "evaluations": None}
    return {name: value for name, value in algo.items() if value is not None}


def _media_format(options: Options) -> MediaFormat:
    if options.makes_clips:
        return VideoFormat(options.model["fps"], options.video_crf)
    return ImageFormat(options.image_format, options.image_quality)


def _make_shard(generator: Generator, plan: Plan, attempt: Attempt, writer: Writer, sample_attempts: int) -> None:
    writer.start(attempt)
    try:
        for batch in plan.batches(attempt.shard):
            held = {sample.index for sample in batch if attempt.held(sample.index)}
            tried = {sample.index for sample in batch if attempt.strikes[sample.index] >= sample_attempts}
            results: Results = {}
            seconds = 0.0
            if any(sample.index not in held | tried for sample in batch):
                if attempt.run.is_done(attempt.shard):
                    break  # another attempt was faster; finish() finds its done record
                start = time.perf_counter()
                results = generate_batch(generator, batch)
                seconds = (time.perf_counter() - start) / len(batch)
            evaluated = generator.evaluated_steps(batch[0].num_inference_steps)
            for sample in batch:
                result = results.get(sample.index)
                # A fresh picture before a held one: the earlier attempt may have made it alone after a passing failure.
                if isinstance(result, np.ndarray):
                    writer.add(attempt, sample, result, evaluated, seconds)
                elif sample.index in held:
                    writer.take_over(attempt, sample)
                elif result is not None:
                    writer.fail(attempt, sample, result.reason, strike=result.strike)
    except BaseException as error:
        writer.abort(attempt, _reason(error))
        raise
    writer.finish(attempt)


def generate_batch(generator: Any, batch: list[Sample]) -> Results:
    """Generate a batch; when it fails, find which sample is to blame.

    A failing batch is tried sample by sample. If some fail alone, they are the bad ones and the others' pictures from
    their own calls are kept: which of the two it is depends on the prompts only, so a resumed shard gets the same
    bytes. If none fails alone the failure was passing (or the batch is too large for the memory): the whole batch is
    tried once more, because the bytes of a batch of one may differ from those of a batch of many.

    Returns:
        Sample index -> picture, or why there is none.

    Raises:
        RuntimeError: the accelerator itself is broken; the process cannot go on.
    """
    results = _try(generator, batch)
    if isinstance(results, dict):
        return results
    if len(batch) == 1:
        return {batch[0].index: Failure(results)}
    alone: Results = {}
    for sample in batch:
        alone |= generate_batch(generator, [sample])
    if any(isinstance(result, Failure) for result in alone.values()):
        return alone
    results = _try(generator, batch)
    if isinstance(results, dict):
        return results
    reason = f"fails only as a batch of {len(batch)} (use a new exp_name with a lower batch_size): {results}"
    return {sample.index: Failure(reason, strike=False) for sample in batch}


def _try(generator: Any, batch: list[Sample]) -> Results | str:
    """Pictures by sample index, or the reason of the failure (text: a kept exception would keep its tensors)."""
    import torch

    try:
        return dict(zip([sample.index for sample in batch], generator(batch), strict=True))
    except UncompletedJobError:  # submitit's signal handler ends this task after its last time limit
        raise
    except Exception as error:
        log.warning("batch of %d from %s failed: %s", len(batch), batch[0].key, traceback.format_exc())
        no_memory = isinstance(error, torch.OutOfMemoryError)
        if not no_memory and (isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)):
            # every later call of this process fails too: no prompt is to blame
            raise RuntimeError(f"the accelerator failed and this process cannot go on: {error}") from error
        reason = _reason(error)
    if no_memory:
        torch.accelerator.empty_cache()
    return reason


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
