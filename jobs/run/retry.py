"""``retry_failed=true``: another pass over the samples that a run has given up, into shards of its own.

    RUN/retry-1/    a run's directory like any other: data/, meta/, done/, ..., of those samples alone

What was published is never touched. Keys are those that the samples would have had, so ``RUN/**/data/*.tar`` is the
whole data set.
"""

import json
from dataclasses import replace

from jobs.base.errors import BadInput
from jobs.run.run import Run
from jobs.store.passes import is_hopeless
from jobs.store.rundir import RunDir


def retried(run: Run) -> Run:
    """Return the pass over a run's failed samples: the one that is not finished, or the next.

    Args:
        run: as made before.

    Raises:
        BadInput: there is no such run, or none of its samples has failed.
    """
    base = run.directory
    if not base.exists():
        raise BadInput(f"retry_failed=true is for a run that was made, and {base.name} is none: leave it out")
    failed = {index for shard in base.done_shards() for index in _failed(base, shard)}
    passes = base.retries()
    for directory in passes:
        one = pass_of(run, directory, tuple(directory.read()["identity"]["retry"]["samples"]))
        done = directory.done_shards()
        attempts = run.options.sample_attempts
        left = [shard for shard in range(one.layout.num_shards) if shard not in done]
        if not all(is_hopeless(directory, shard, one.layout.shard_range(shard), attempts) for shard in left):
            return one
        failed -= {index for shard in done for index in one.layout.shard_range(shard)} - {
            index for shard in done for index in _failed(directory, shard)
        }
    if not failed and run.unfinished():
        raise BadInput(
            f"retry_failed=true is for samples that were given up, of which {base.name} has none yet, but shards that "
            "are not done: leave it out to finish them first"
        )
    if not failed:
        raise BadInput(f"no sample of {base.name} has failed, or all were made since: leave retry_failed out")
    return pass_of(run, base.below(f"retry-{len(passes) + 1}"), tuple(sorted(failed)))


def pass_of(run: Run, directory: RunDir, samples: tuple[int, ...]) -> Run:
    """Return the pass over these samples of a run, which lies in this directory."""
    identity = {**run.identity, "retry": {"samples": list(samples)}}
    return replace(run, directory=directory, layout=replace(run.layout, only=samples), identity=identity)


def _failed(directory: RunDir, shard: int) -> list[int]:
    failed: list[int] = json.loads(directory.done_record(shard).read_text())["failed"]
    return failed
