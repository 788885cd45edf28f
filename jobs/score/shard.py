"""One process that scores shards: batch by batch what no earlier attempt has scored, then the shard's table.

It goes as with generating (``jobs.execute.worker``): attempts with journals, samples that are given up after so many
failures, a done record that is written last. What a partial tar is there is here a file of one JSON line a sample.
"""

import contextlib
import hashlib
import json
import math
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from jobs.base.times import HEARTBEAT
from jobs.execute.batch import Suspicion, generate_batch, reason_of
from jobs.execute.begun import mark_begun
from jobs.execute.halt import Halt
from jobs.model.pipeline import Failure
from jobs.score.publish import publish
from jobs.score.reading import Media, Picture, batches, pictures_of
from jobs.score.scorers import Measure
from jobs.store.attempt import Attempt
from jobs.store.journal import STOPPED
from jobs.store.mirror import is_published
from jobs.store.scores import KEYS, tar_hash
from jobs.store.writer import Report

if TYPE_CHECKING:
    from jobs.score.scoring import Scoring


def score_shards(
    scoring: "Scoring", shards: Iterable[int], *, device: str, log_path: str, report: Report, halt: Halt
) -> float:
    """Load the scorer once, then score shards until it is to stop; see ``jobs.execute.worker.generate_shards``."""
    import torch

    torch.set_num_threads(scoring.options.cpu_threads)
    measure = scoring.scorer.load(device)
    mark_begun()
    # The processor's or GPU's name plays no part: a sample's scores may come from either.
    sound = False  # whether this process has scored anything
    first = {"loading": time.time() - psutil.Process().create_time()}
    for shard in shards:
        if halt.why:
            break
        if is_published(scoring.directory, shard):
            continue
        attempt = Attempt(
            scoring.directory,
            shard,
            fingerprint=scoring.fingerprint,
            device=device,
            log=log_path,
            gpu=device.startswith("cuda"),
            **first,
        )
        first = {}
        with _beating(attempt):
            try:
                sound = _score(scoring, attempt, measure, report, halt, sound)
            except BaseException as error:
                attempt.end("error", reason_of(error))
                raise
    return 0.0


def _score(scoring: "Scoring", attempt: Attempt, measure: Measure, report: Report, halt: Halt, sound: bool) -> bool:
    """Score a shard, or go on with it; return whether anything was scored by this process."""
    tar_sha256 = tar_hash(scoring.of, attempt.shard)
    pictures = pictures_of(scoring.of, attempt.shard)
    tries = scoring.options.sample_attempts
    suspicion: Any = Suspicion(attempt.deaths, tries, attempt.trying, sound)
    made: set[int] = set()
    slowest = 0.0
    with contextlib.closing(Media(scoring.of, attempt.shard)) as media:
        for batch in batches(pictures, scoring.batch_size):
            inherited = {one.index for one in batch if attempt.inherits(one.index)}
            left = {one.index for one in batch if attempt.strikes[one.index] < tries} - inherited
            results: dict[int, Any] = {}
            if left:
                if why := halt.before(slowest):
                    attempt.end(STOPPED, why)
                    return sound
                start = time.perf_counter()
                call = _Call(scoring.scorer.name, media, measure)
                results = generate_batch(call, batch, suspicion)  # type: ignore[arg-type]
                attempt.trying([])
                taken = time.perf_counter() - start
                slowest = max(slowest, taken)
                attempt.spent["generating"] += taken
            for one in batch:
                result = results.get(one.index)
                if one.index in inherited:
                    attempt.copy(one.index)
                    report("inherited", attempt.shard, one.key)
                elif isinstance(result, Failure) and one.index in left:
                    reason = f"{scoring.scorer.name}: {result.reason}"
                    attempt.fail(one.index, one.key, reason, strike=result.strike, final=result.final)
                    report("failed", attempt.shard, f"{one.key}: {reason}")
                    continue
                elif one.index in left:
                    line = json.dumps(result, allow_nan=False).encode() + b"\n"
                    attempt.append(one.index, [], line, media_sha256="", seconds=taken / len(batch))
                    report("sample", attempt.shard, one.key)
                else:
                    continue
                made.add(one.index)
    report(publish(scoring, attempt, pictures, made, tar_sha256), attempt.shard, "")
    return bool(suspicion.sound)


class _Call:
    """Scores a batch, as ``generate_batch`` calls pipelines."""

    def __init__(self, name: str, media: Media, measure: Measure):
        self._name, self._media, self._measure = name, media, measure

    def __call__(self, batch: list[Picture]) -> list[dict[str, Any]]:
        columns = self._measure(np.stack([self._media.read(one) for one in batch]), [dict(one.row) for one in batch])
        return rows_of(columns, len(batch), self._media.names(batch[0]))


def rows_of(columns: Any, count: int, taken: Collection[str] = KEYS) -> list[dict[str, Any]]:
    """Return what a scorer answered as a row for each sample, in json types; what is not finite is null.

    Args:
        columns: of the scorer.
        count: of the samples.
        taken: names that the samples' tables have anyway.

    Raises:
        ValueError: it is not one value of each column for each sample.
    """
    if not isinstance(columns, dict) or not columns:
        found = "none" if isinstance(columns, dict) else type(columns).__name__
        raise ValueError(f"it must return columns, like {{'name': [values]}}, not {found}")
    folded = {name.casefold() for name in taken}
    for name, values in columns.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a column is called {name!r}: use letters, digits and _")
        if name.casefold() in folded:
            raise ValueError(f"a column is called {name}, which every sample has by itself: call it otherwise")
        if isinstance(values, (str, bytes, dict, set)):
            raise ValueError(f"column {name} is a {type(values).__name__}: give a list, or an array")
        if not hasattr(values, "__len__") or len(values) != count:
            many = len(values) if hasattr(values, "__len__") else "no"
            raise ValueError(f"column {name} has {many} values for {count} samples")
    plain = {name: [_plain(name, value) for value in values] for name, values in columns.items()}  # in their order
    return [{name: values[place] for name, values in plain.items()} for place in range(count)]


def _plain(name: str, value: Any) -> Any:
    if getattr(value, "shape", ()):
        raise ValueError(f"column {name} has values of shape {tuple(value.shape)}: give one number for each sample")
    value = value.item() if hasattr(value, "item") else value  # numpy's and torch's numbers
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"column {name} has {value}, which does not fit 64 bits: give it as a text")
    if isinstance(value, str) and not _is_unicode(value):
        raise ValueError(f"column {name} has {value!r}, which is no text that UTF-8 can write")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ValueError(f"column {name} has a {type(value).__name__}: values must be numbers, texts, or None")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)  # half a pair


def fingerprint(identity: dict[str, Any]) -> str:
    """Name all that decides scores: what is measured, and by which libraries."""
    from importlib.metadata import version

    libraries = {name: version(name) for name in ("numpy", "pillow", "torch", "transformers", "imageio-ffmpeg")}
    return hashlib.sha256(json.dumps([identity, libraries], sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _beating(attempt: Attempt) -> Iterator[None]:
    """Have an attempt's heart beat meanwhile."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            attempt.beat()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
