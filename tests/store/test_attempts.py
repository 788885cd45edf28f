"""Attempts, takeover and publishing, on pictures that need no model."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.media.image import ImageFormat
from jobs.report.status import read_status
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.journal import DIED, STOPPED, Journal, journals, write_end
from jobs.store.tar import sample_bytes
from jobs.store.writer import Writer
from tests.support import HOW, new_run, picture, tar_hashes, write_prompts


@pytest.fixture
def run(tmp_path: Path) -> Run:
    prompts = write_prompts(tmp_path / "prompts.txt", 10)
    return new_run(tmp_path / "out", f"prompt_file={prompts}", "shard_size=5")


def open_attempt(run: Run, shard: int = 0, fingerprint: str = "same") -> Attempt:
    return Attempt(run.directory, shard, fingerprint=fingerprint, device="cpu", log="some.log")


def make(run: Run, attempt: Attempt, failing: tuple[int, ...] = (), sample_attempts: int = 2) -> str:
    """Work a shard as the worker does, with a seeded picture for each sample."""
    outcomes: list[str] = []
    writer = Writer(
        run.layout,
        ImageFormat("png", 95),
        {"model": "none"},
        sample_attempts=sample_attempts,
        in_flight=3,
        report=lambda event, shard, detail: outcomes.append(event),
    )
    writer.start(attempt)
    for index in run.layout.shard_range(attempt.shard):
        sample = run.layout.sample(index)
        if attempt.inherits(index):
            writer.inherit(attempt, sample)
        elif index in failing:
            writer.fail(attempt, sample, "ValueError: no such thing")
        else:
            writer.add(attempt, sample, picture(sample.seed), HOW, 0.5)
    writer.finish(attempt)
    writer.close()
    return outcomes[-1]


@pytest.fixture
def reference(run: Run, tmp_path: Path) -> str:
    """sha256 of shard 0 of a run that nothing happened to."""
    other = new_run(tmp_path / "reference", f"prompt_file={run.layout.table.path}", "shard_size=5")
    assert make(other, open_attempt(other)) == "done"
    return tar_hashes(other.directory.path)["00000.tar"]


def abandon(run: Run, samples: int, cut: int = 0, fingerprint: str = "same") -> Attempt:
    """Leave the files of an attempt that was killed after ``samples`` samples, its partial short of ``cut`` bytes."""
    attempt = open_attempt(run, fingerprint=fingerprint)
    whole = open_attempt(run, fingerprint="whole")
    make(run, whole, failing=(4,))  # ends as held: its journal tells what a whole attempt writes
    journal = Journal.read(whole.journal)
    assert journal
    data = whole.partial.read_bytes()
    for row in journal.samples[:samples]:
        attempt.append(
            row["sample"], row["names"], data[row["start"] : row["end"]], media_sha256=row["media_sha256"], seconds=1.0
        )
    for path in (whole.partial, whole.journal):
        path.unlink()
    attempt.partial.write_bytes(attempt.partial.read_bytes()[: attempt.size - cut])
    return attempt


@pytest.mark.parametrize("samples", range(5))
@pytest.mark.parametrize("cut", [0, 1, 700])
def test_takeover_at_any_point_ends_in_the_same_bytes(run, reference, samples, cut) -> None:
    cut = cut if samples else 0
    abandon(run, samples, cut)
    attempt = open_attempt(run)
    assert [index for index in range(5) if attempt.inherits(index)] == list(range(samples - bool(cut)))
    assert make(run, attempt) == "done"
    assert tar_hashes(run.directory.path)["00000.tar"] == reference
    assert not list(run.directory.work.glob("00000.*"))


def test_a_flipped_bit_in_a_partial_is_not_taken_over(run, reference) -> None:
    left = abandon(run, 4)
    data = bytearray(left.partial.read_bytes())
    data[600] ^= 1
    left.partial.write_bytes(data)
    attempt = open_attempt(run)
    assert [attempt.inherits(index) for index in range(5)] == [False, True, True, True, False]
    assert make(run, attempt) == "done"
    assert tar_hashes(run.directory.path)["00000.tar"] == reference


def test_a_torn_journal_line_is_what_a_kill_leaves(run, reference) -> None:
    left = abandon(run, 3)
    left.journal.write_bytes(left.journal.read_bytes()[:-9])
    attempt = open_attempt(run)
    assert [attempt.inherits(index) for index in range(5)] == [True, True, False, False, False]
    assert make(run, attempt) == "done"
    assert tar_hashes(run.directory.path)["00000.tar"] == reference


def test_other_library_versions_are_not_mixed_in(run) -> None:
    abandon(run, 3, fingerprint="older libraries")
    attempt = open_attempt(run)
    assert not any(attempt.inherits(index) for index in range(5))


def test_samples_come_together_from_several_attempts(run, reference) -> None:
    abandon(run, 2)
    make(run, open_attempt(run), failing=(3,))
    attempt = open_attempt(run)
    assert [attempt.inherits(index) for index in range(5)] == [True, True, True, False, True]
    assert make(run, attempt) == "done"
    assert tar_hashes(run.directory.path)["00000.tar"] == reference


def test_takeover_keeps_who_made_a_sample_and_when(run) -> None:
    first = abandon(run, 2)
    second = open_attempt(run)
    make(run, second)
    rows = pq.read_table(run.directory.sidecar(0)).to_pylist()
    assert [row["attempt"] for row in rows] == [first.name] * 2 + [second.name] * 3
    assert [row["seconds"] for row in rows] == [1.0, 1.0, 0.5, 0.5, 0.5]


def test_a_failing_sample_holds_its_shard_then_is_given_up(run) -> None:
    assert make(run, open_attempt(run), failing=(2,)) == "incomplete"
    status = read_status(run.directory)
    assert (status.done, status.failed, status.left) == (0, 1, 1)
    assert status.failures[0]["reason"] == "ValueError: no such thing"
    assert make(run, open_attempt(run), failing=(2,)) == "done"
    rows = pq.read_table(run.directory.sidecar(0)).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "ok", "ok"]
    assert rows[2]["reason"] == "ValueError: no such thing"
    record = json.loads(run.directory.done_record(0).read_text())
    assert (record["samples"], record["failed"]) == (4, [2])
    assert "given up" in read_status(run.directory).failures[0]["reason"]


def test_a_failing_sample_that_succeeds_later_leaves_no_trace_in_the_tar(run, reference) -> None:
    assert make(run, open_attempt(run), failing=(0, 4)) == "incomplete"
    assert make(run, open_attempt(run)) == "done"
    assert tar_hashes(run.directory.path)["00000.tar"] == reference


def test_a_shard_in_which_everything_fails_is_never_published(run) -> None:
    for _ in range(4):
        assert make(run, open_attempt(run), failing=(0, 1, 2, 3, 4)) == "incomplete"
    assert not run.directory.is_done(0)
    assert not list(run.directory.data.iterdir())


def test_a_done_shard_is_never_rewritten(run) -> None:
    late = open_attempt(run)
    assert make(run, open_attempt(run)) == "done"
    before = {path: path.stat().st_mtime_ns for path in run.directory.path.rglob("*") if path.is_file()}
    assert make(run, late) == "done"
    after = {path: path.stat().st_mtime_ns for path in run.directory.path.rglob("*") if path.is_file()}
    assert before == after


@pytest.mark.parametrize("moment", ["sync", "inherit"])
def test_losing_the_race_to_publish_is_no_error(run, monkeypatch, moment) -> None:
    """Another attempt publishes, and clears our files away, while we are about to."""
    abandon(run, 3)
    slow = open_attempt(run)
    assert slow.inherits(0)
    ours = getattr(slow, moment)

    def too_late(*arguments) -> None:
        monkeypatch.setattr(slow, moment, ours)
        assert make(run, open_attempt(run)) == "done"
        ours(*arguments)

    monkeypatch.setattr(slow, moment, too_late)
    assert make(run, slow) == "done"
    assert run.directory.unfinished(2) == [1]
    assert not list(run.directory.work.glob("0*"))


def test_a_disk_that_lies_is_noticed_before_anything_is_published(run, monkeypatch) -> None:
    attempt = open_attempt(run)
    sync = attempt.sync

    def sync_and_lose() -> None:
        sync()
        attempt.partial.write_bytes(attempt.partial.read_bytes()[:5000])

    monkeypatch.setattr(attempt, "sync", sync_and_lose)
    with pytest.raises(OSError, match="read back"):
        make(run, attempt)
    assert not list(run.directory.data.iterdir()) and not list(run.directory.done.iterdir())


def test_an_attempt_of_a_dead_process_is_not_alive(run) -> None:
    attempt = open_attempt(run)
    (journal,) = journals(run.directory, 0)
    assert journal.alive()
    header = json.loads(attempt.journal.read_text())
    header["process"]["created"] -= 10  # the pid was reused by another process
    attempt.journal.write_text(json.dumps(header) + "\n")
    (journal,) = journals(run.directory, 0)
    assert not journal.alive()


def ended(run: Run, how: str, *, tried: tuple[int, ...] = (), made: int = 0, crashed: bool = False) -> None:
    """Leave an attempt whose process did not end in its own words, where ``how`` says so."""
    attempt = open_attempt(run)
    if tried:
        attempt.trying(list(tried))
    for index in range(made):
        attempt.append(index, ["a"], b"x" * 512, media_sha256="", seconds=1.0)
    if how == "vanished":
        rows = attempt.journal.read_text().splitlines()
        header = json.loads(rows[0])
        header["process"]["created"] -= 10
        attempt.journal.write_text("\n".join([json.dumps(header), *rows[1:], ""]))
    elif how == DIED:
        write_end(run.directory, [0], os.getpid(), DIED, "was killed by SIGSEGV", crashed=crashed)
    else:
        attempt.end(how, "in its own words")


def test_only_who_died_in_a_call_or_before_anything_counts_as_a_death(run) -> None:
    ended(run, "vanished", tried=(0, 1))
    ended(run, "vanished", tried=(0, 1), made=2)  # the call had come back
    ended(run, "error", tried=(2,))
    ended(run, STOPPED, tried=(2,))
    ended(run, DIED, tried=(3,), crashed=True)
    ended(run, "vanished")  # before it came to a call
    found = [(death.trying, death.crashed) for death in open_attempt(run).deaths]
    assert found == [((0, 1), False), ((3,), True), ((), False)]


def test_an_attempt_that_goes_on_writes_only_what_is_new(run, reference) -> None:
    left = abandon(run, 4)
    attempt = open_attempt(run)
    for index in range(4):
        assert attempt.inherits(index)
        attempt.inherit(index)
    attempt.end(STOPPED, "its time limit is near")
    assert attempt.partial.stat().st_size == 0 and left.size > 0
    assert make(run, open_attempt(run)) == "done"  # copied once, when the shard is complete
    assert tar_hashes(run.directory.path)["00000.tar"] == reference


def test_sample_bytes_do_not_depend_on_the_machine() -> None:
    assert sample_bytes("a", {"txt": b"x"})[:100].rstrip(b"\0") == b"a.txt"
    assert b"root" not in sample_bytes("a", {"txt": b"x"})
