"""The loop that makes a shard: batch by batch what nobody has made yet, and all of it to the writer in order."""

import time
from functools import partial
from typing import Any

from jobs.dataset.layout import Sample
from jobs.execute.alike import Alike
from jobs.execute.audit import Audit
from jobs.execute.batch import Results, Suspicion, generate_batch, reason_of
from jobs.execute.halt import Halt
from jobs.execute.overlap import Overlap
from jobs.execute.pace import Pace
from jobs.execute.turns import Turns
from jobs.model.pipeline import Failure, Made
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.writer import Writer


def make_shard(
    pipeline: Any,
    run: Run,
    attempt: Attempt,
    writer: Writer,
    halt: Halt | None = None,
    pace: Pace | None = None,
    audit: Audit | None = None,
    overlap: Overlap | None = None,
    alike: Alike | None = None,
) -> None:
    """Make the samples of a shard that nobody has made yet, and hand all to the writer in order.

    Args:
        pipeline: a ``jobs.execute.memory.Sparing``.
        run: the run.
        attempt: at that shard.
        writer: takes the samples.
        halt: is asked before each batch.
        pace: of this process's batches.
        audit: of this process's samples.
        overlap: what ``pipeline`` calls; None where each batch is to end before the next one begins.
        alike: of this process's failures.

    Raises:
        BadInput: nothing of the run was ever made, and all fails for one reason.
    """
    halt, pace, audit = halt or Halt(), pace or Pace(), audit or Audit(run, pipeline)
    alike = alike or Alike(run)
    options = run.options
    others = _unsuspected(run, attempt) if attempt.deaths else None
    turns = Turns(run, attempt, halt, pace, audit, overlap)
    suspicion = Suspicion(attempt.deaths, options.sample_attempts, turns.trying, pace.begun, others)
    writer.start(attempt)
    began = time.perf_counter()
    try:
        pipeline.prepare(batch for batch in turns.batches if turns.is_wanted(batch) and not halt.before(0.0))
        attempt.spent["generating"] += time.perf_counter() - began
        for batch in turns.batches:
            inherited = turns.inherited(batch)
            results: Results = {}
            audits: dict[int, dict[str, Any]] = {}
            seconds = 0.0
            if turns.is_wanted(batch):
                if attempt.run.is_done(attempt.shard):
                    break  # another attempt was faster; finish() finds its done record
                audited = audit.is_due(batch)
                if not turns.has_begun(batch) and (why := halt.before(pace.expected(batch, audited))):
                    alike.end_of_shard()
                    writer.leave(attempt, why)
                    return
                start = time.perf_counter()
                early = turns.early(batch, start)
                results = generate_batch(pipeline, batch, suspicion)
                turns.came_back()
                seconds = (time.perf_counter() - start) / len(batch)
                audits = audit.of(batch, results)
                taken = time.perf_counter() - start
                pace.note(batch, early + taken, taken, audited)
                attempt.spent["generating"] += taken
            for sample in batch:
                result = results.get(sample.index)
                # A fresh image before an inherited one: that may have been made alone, after a passing failure.
                if isinstance(result, Made):
                    alike.made()
                    beside = (seconds, audits.get(sample.index), result.adapted)
                    writer.add(attempt, sample, result.media, result.how, *beside)
                elif sample.index in inherited:
                    writer.inherit(attempt, sample)
                elif isinstance(result, Failure):
                    alike.failed(sample, result, partial(_record, writer, attempt, sample, result))
            attempt.spent["waiting"] = time.perf_counter() - began - attempt.spent["generating"]
    except BaseException as error:
        writer.abort(attempt, reason_of(error))
        raise
    finally:
        turns.end()
    alike.end_of_shard()
    attempt.trying([])
    writer.finish(attempt)


def _record(writer: Writer, attempt: Attempt, sample: Sample, failure: Failure, blame: bool) -> None:
    writer.fail(attempt, sample, failure.reason, strike=blame, final=failure.final)


def _unsuspected(run: Run, attempt: Attempt) -> list[Sample] | None:
    """Return a batch of this shard or another one of which no process died; None where there is none.

    One that was under way beside another one when its process died is taken only if there is no other.
    """
    count = run.layout.num_shards
    shards = [(attempt.shard + step) % count for step in range(min(count, 2))]
    batches = [batch for shard in shards for batch in run.layout.batches(shard)]
    samples = [{sample.index for sample in batch} for batch in batches]
    named = [set(death.trying) for death in attempt.deaths]
    alone = [death for death in named if any(death <= batch for batch in samples)]
    for deaths in (named, alone):
        suspected: set[int] = set().union(*deaths)
        for batch, indices in zip(batches, samples, strict=True):
            if not indices & suspected:
                return batch
    return None
