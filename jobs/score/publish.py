"""Makes a scored shard done: its rows, read back from the attempt, become a table; the done record is written last."""

import contextlib
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.score.reading import Picture
from jobs.store.atomic import json_bytes
from jobs.store.attempt import Attempt, strikes_of
from jobs.store.mirror import bring_records, is_published
from jobs.store.publish import DONE, INCOMPLETE, clear_work, done_record
from jobs.store.scores import ScoreDir, has_its_table, tar_hash
from jobs.store.sidecar import FAILED, OK

if TYPE_CHECKING:
    from jobs.score.scoring import Scoring


def publish(
    scoring: "Scoring", attempt: Attempt, pictures: list[Picture], made: set[int], tar_sha256: str | None
) -> str:
    """Publish a shard's scores if they are complete, or end the attempt.

    A sample whose scoring failed as often as it may has no scores, and the table says why. A shard in which nothing
    could be scored is not published: that is a broken scorer rather than a bad picture.

    Args:
        scoring: of the run.
        attempt: at the shard.
        pictures: the samples to be scored.
        made: those that are.
        tar_sha256: hash of the tar that they were read from.

    Returns:
        ``DONE``, or ``INCOMPLETE`` when another attempt is needed.
    """
    directory, shard = scoring.directory, attempt.shard
    missing = [one.index for one in pictures if one.index not in made]
    strikes = attempt.strikes + strikes_of(attempt.failures)
    if (pictures and not made) or any(strikes[index] < scoring.options.sample_attempts for index in missing):
        attempt.end("failed", f"{len(missing)} samples failed")
        return INCOMPLETE
    reasons = {row["failed"]: row["error"] for row in [*attempt.earlier_failures, *attempt.failures]}
    rows = _read_back(attempt)
    data = table_bytes([_row(one, rows.get(one.index), reasons.get(one.index, "")) for one in pictures])
    given_up = {index: reasons[index] for index in missing}
    record = done_record(attempt, len(made), given_up, hashlib.sha256(data).hexdigest())
    record["tar_sha256"] = tar_sha256
    with directory.publish_lock(shard):
        if tar_sha256 is None or tar_hash(scoring.of, shard) != tar_sha256:
            attempt.end("failed", "the run has more prompts by now")
            return INCOMPLETE
        if not is_published(directory, shard):
            directory.check_there()
            _put(directory, shard, data, record)
    attempt.end(DONE)
    clear_work(attempt)
    return DONE


def _put(directory: ScoreDir, shard: int, table: bytes, record: dict[str, Any]) -> None:
    """Put a shard's table and then its done record where they count; the first record there decides.

    Machines with directories of their own may do so at once, and their tables may differ: by the GPU, or because only
    one gave a sample up. So whoever finds that the table is not the record's begins again, and the last to do so leaves
    both of one. Where a kill keeps all of them from that, the shard counts as not scored (``ScoreDir.is_whole`` and
    ``reopen``).
    """
    done = directory.done_record(shard)
    while True:
        directory.put(directory.sidecar(shard), table)
        directory.put_new(done, json_bytes(record))
        with contextlib.suppress(FileNotFoundError):
            bring_records(directory, shard)
            if has_its_table(directory, shard) and directory.scored(shard) == record["tar_sha256"]:
                return
        directory.remove(done)


def table_bytes(rows: list[dict[str, Any]], types: dict[str, pa.DataType] | None = None) -> bytes:
    """Return a shard's table as a file: whole numbers, numbers, truth values and texts, or nulls.

    Args:
        rows: column -> value, of each sample.
        types: of columns that may have no value at all, by which a type could be told.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    sink = io.BytesIO()
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    table = pa.table({name: values.cast((types or {}).get(name, values.type)) for name, values in columns.items()})
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _column(values: list[Any]) -> pa.Array:
    """Return values as one column; whole numbers among others become such, and other mixtures texts."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values)


def _row(picture: Picture, scores: dict[str, Any] | None, reason: str) -> dict[str, Any]:
    status = {"status": FAILED, "reason": reason} if scores is None else {"status": OK, "reason": ""}
    return {"key": picture.key, "sample_index": picture.index, **status, **(scores or {})}


def _read_back(attempt: Attempt) -> dict[int, dict[str, Any]]:
    """Return the scores that the attempt wrote, as the disk gives them back.

    Raises:
        OSError: with other bytes.
    """
    attempt.sync()
    data = attempt.partial.read_bytes()
    if hashlib.sha256(data).digest() != attempt.digest.digest():
        raise OSError(f"{attempt.partial} was read back with other bytes than were written")
    return {row["sample"]: json.loads(data[row["start"] : row["end"]]) for row in attempt.rows}
