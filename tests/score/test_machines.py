"""Several machines at the scores of a run in a store, each with a working directory of its own, and beginning anew."""

import hashlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.store.mirror import is_published
from jobs.store.mirror_scores import working
from jobs.store.scores import ScoreDir
from tests.execute.test_store import KEYS, STORE, make, stored
from tests.s3 import BUCKET, S3
from tests.score.scored import refusal
from tests.score.test_stored_runs import ADDRESS, score
from tests.warm.forks import start

MINE = "scorers=[mine:count]"
SCORES = f"{KEYS}scores/mine.count/"
# As on a GPU of another kind, no two processes measure the same.
COUNT = """
import os

def count(media, rows):
    return {"count": [os.getpid()] * len(rows)}
"""
MISTAKEN = """
def count(media, rows):
    if any(row["sample_index"] in (3, 4, 5) for row in rows):
        raise ValueError("a mistake")
    return {"count": [1] * len(rows)}
"""


@pytest.fixture
def scored_run(s3: S3, tmp_path: Path, own: Path) -> None:
    """Nine samples in three shards, and a scorer."""
    make(stored(tmp_path))
    (own / "mine.py").write_text(COUNT)


def one_machine(environment: dict[str, str], folder: Path, work_path: Path) -> None:
    """Score in a process that may be killed."""
    os.environ.update(environment)
    os.chdir(folder)
    assert score(ADDRESS, work_path, MINE)


def shards_of(s3: S3) -> dict[int, tuple[str, str]]:
    """Of each shard with a done record: the table's sha256 by the record, and that of the table in the store."""
    found = s3.objects(BUCKET, SCORES)
    records = [json.loads(data) for name, data in found.items() if name.startswith("done/")]
    tables = {one["shard"]: found.get(f"meta/{one['shard']:05d}.parquet", b"") for one in records}
    return {one["shard"]: (one["sha256"], hashlib.sha256(tables[one["shard"]]).hexdigest()) for one in records}


def check_whole(s3: S3, *work_paths: Path) -> None:
    """See that the store has tables with their own done records, and so have the copies."""
    assert {*shards_of(s3)} == {0, 1, 2} and all(by_record == there for by_record, there in shards_of(s3).values())
    for work_path in work_paths:
        directory = ScoreDir(working(ADDRESS, work_path), "mine:count")
        assert [directory.table(shard).num_rows for shard in range(3)] == [3, 3, 3]


def score_elsewhere(s3: S3, folder: Path, work_path: Path) -> None:
    """Score in another process, and see that it came through."""
    process = start(one_machine, s3.environment, folder, work_path)
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize(("moment", "puts"), [("meta", 3), ("done", 2)])
def test_two_machines_that_publish_a_shard_at_once_leave_the_table_and_record_of_one(
    scored_run, s3, tmp_path, own, moment, puts
) -> None:
    """The second scores all of the run before the first may put its table, or between its table and its record.

    In the first case its table lies over that of the other one's record, and it begins again.
    """
    come: list[str] = []

    def in_between(method: str, path: str) -> None:
        if method == "PUT" and f"{SCORES}{moment}/00000." in path and not come:
            come.append(path)
            score_elsewhere(s3, own, tmp_path / "two")

    s3.before = in_between
    assert score(ADDRESS, tmp_path / "one", MINE) and come
    assert s3.puts.count(f"{SCORES}meta/00000.parquet") == puts
    check_whole(s3, tmp_path / "one", tmp_path / "two")


def test_a_table_that_lies_over_that_of_a_done_record_is_made_again(scored_run, s3, tmp_path, own) -> None:
    """A machine is killed between its two requests, after another one has published the shard."""
    begun, stage = threading.Event(), ["before its table"]

    def deadly(method: str, path: str) -> None:
        if stage[-1] == "before its table" and method == "PUT" and path.endswith(f"{SCORES}meta/00000.parquet"):
            stage.append("the other one")
            score_elsewhere(s3, own, tmp_path / "two")
            stage.append("after its table")
        elif stage[-1] == "after its table":
            begun.wait()
            stage.append("killed")
            os.kill(one.pid or 0, signal.SIGKILL)

    s3.before = deadly
    one = start(one_machine, s3.environment, own, tmp_path / "one")
    begun.set()
    one.join()
    s3.before = lambda method, path: None
    assert one.exitcode == -signal.SIGKILL and stage[-1] == "killed"
    by_record, there = shards_of(s3)[0]
    assert by_record != there

    directory = ScoreDir(working(ADDRESS, tmp_path / "three"), "mine:count")
    with pytest.raises(BadInput, match=r"meta/00000.parquet is not the table that .*done/00000.json tells of"):
        directory.table(0)
    directory.done_record(0).unlink()
    assert not is_published(directory, 0), "also to a process that has begun by now"
    assert score(ADDRESS, tmp_path / "three", MINE)
    check_whole(s3, *(tmp_path / name for name in ("one", "two", "three")))


def test_near_duplicates_with_another_table_are_found_again(scored_run, s3, tmp_path) -> None:
    words = ("scorers=[basic,near_duplicates]",)
    assert score(ADDRESS, tmp_path / "one", *words)
    tables = s3.objects(BUCKET, f"{KEYS}scores/near_duplicates/meta/")
    other = s3.objects(BUCKET, f"{KEYS}scores/basic/meta/")["00001.parquet"]
    s3.client().put_object(Bucket=BUCKET, Key=f"{KEYS}scores/near_duplicates/meta/00001.parquet", Body=other)
    assert score(ADDRESS, tmp_path / "two", *words)
    assert s3.objects(BUCKET, f"{KEYS}scores/near_duplicates/meta/") == tables


def test_samples_that_another_scorer_gave_up_are_tried_where_its_folder_is_deleted(
    scored_run, s3, tmp_path, own, capsys
) -> None:
    """As the command that refuses to go on says."""
    (own / "mine.py").write_text(MISTAKEN)
    words = (MINE, "batch_size=1", "sample_attempts=2")
    assert not score(ADDRESS, tmp_path / "one", *words)
    assert not score(ADDRESS, tmp_path / "one", *words), "a shard without any scores is not published"
    sys.modules.pop("mine")
    (own / "mine.py").write_text(COUNT)
    said = refusal(capsys, ADDRESS, *words, f"work_path={tmp_path}/one")
    assert f"{ADDRESS}/scores/mine.count holds other scores" in said and "delete that folder to score again" in said
    for key in s3.keys(BUCKET, SCORES):
        s3.client().delete_object(Bucket=BUCKET, Key=key)
    assert score(ADDRESS, tmp_path / "one", *words)
    check_whole(s3, tmp_path / "one")


def test_what_was_begun_stays_where_only_the_time_of_a_record_differs(scored_run, s3, tmp_path, own) -> None:
    """Workers of one's own may be at it."""
    (own / "mine.py").write_text(MISTAKEN)
    assert not score(ADDRESS, tmp_path / "one", MINE, "batch_size=1")
    work = tmp_path / "one/run/scores/mine.count/work"
    before = sorted(path.name for path in work.glob("00001.*"))
    record = json.loads(s3.objects(BUCKET, SCORES)["run.json"])
    body = json.dumps({**record, "created": record["created"] + 1}).encode()
    s3.client().put_object(Bucket=BUCKET, Key=f"{SCORES}run.json", Body=body)
    working(ADDRESS, tmp_path / "one")
    assert before and sorted(path.name for path in work.glob("00001.*")) == before
    assert (work.parent / "run.json").read_bytes() == body


def test_a_done_record_that_another_machine_takes_back_meanwhile_is_not_there(scored_run, s3, tmp_path) -> None:
    """As one does whose table lies over another's."""
    assert score(ADDRESS, tmp_path / "one", MINE)

    def before(method: str, path: str) -> None:
        if path.endswith(f"{SCORES}meta/00000.parquet"):
            s3.client().delete_object(Bucket=BUCKET, Key=f"{SCORES}done/00000.json")

    s3.before = before
    assert ScoreDir(working(ADDRESS, tmp_path / "two"), "mine:count").done_shards() == {1, 2}


def test_two_commands_may_find_at_once_that_another_machine_began_anew(scored_run, s3, tmp_path) -> None:
    assert score(ADDRESS, tmp_path / "one", MINE)
    record = tmp_path / "one/run/scores/mine.count/run.json"
    record.write_bytes(record.read_bytes() + b" ")

    def before(method: str, path: str) -> None:
        if path.endswith(f"{SCORES}run.json"):
            record.unlink(missing_ok=True)  # the other command, on a file system without locks

    s3.before = before
    check_whole(s3, tmp_path / "one")


def test_two_runs_of_one_name_in_two_stores_are_compared(scored_run, s3, tmp_path, capsys) -> None:
    other = f"{STORE}/elsewhere/run"
    make(stored(tmp_path, "seed=7", name="elsewhere", store=f"{STORE}/elsewhere"))
    assert score(ADDRESS, tmp_path / "one", "scorers=fidelity", f"against={other}")
    rows = ScoreDir(working(ADDRESS, tmp_path / "one"), "fidelity").table(0).to_pylist()
    assert len(rows) == 3 and all(row["psnr"] > 0 for row in rows)
    said = refusal(capsys, ADDRESS, "scorers=fidelity", "against=ftp://x/y", f"work_path={tmp_path}/one")
    assert "against must be an address like s3://bucket/folder" in said
