"""A run that grows: its last shard, published with too few samples, is completed, and nothing in it is lost."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.media.image import ImageFormat
from jobs.report.ledger import read_ledger
from jobs.run.open import create
from jobs.run.run import Run
from jobs.store import reopen
from jobs.store.attempt import Attempt
from jobs.store.publish import clear_leftovers
from jobs.store.writer import Writer
from tests.support import HOW, new_run, picture, resolved, tar_hashes, write_prompts


def begin(folder: Path, prompts: int, *overrides: str) -> Run:
    """The run ``folder/run`` with the first so many prompts of a list; begun, or gone on with."""
    folder.mkdir(exist_ok=True)
    path = write_prompts(folder / "p.txt", 30)
    return new_run(folder, f"prompt_file={path}", f"total_prompt_num={prompts}", "shard_size=5", *overrides)


def make(run: Run, failing: tuple[int, ...] = ()) -> list[str]:
    """Work what is left as a worker does; returns the keys that were made and not taken over."""
    made: list[str] = []
    writer = Writer(run.layout, ImageFormat("png", 95), {}, sample_attempts=2, in_flight=3, report=lambda *event: None)
    for shard in run.unfinished():
        attempt = Attempt(run.directory, shard, fingerprint="same", device="cpu", log="")
        writer.start(attempt)
        for index in run.layout.shard_range(shard):
            sample = run.layout.sample(index)
            if attempt.inherits(index):
                writer.inherit(attempt, sample)
            elif attempt.strikes[index]:
                continue
            elif index in failing:
                writer.fail(attempt, sample, "ValueError: bad", final=True)
            else:
                made.append(sample.key)
                writer.add(attempt, sample, picture(sample.seed), HOW, 0.5)
                attempt.spent["generating"] += 0.5
        writer.finish(attempt)
    writer.close()
    return made


@pytest.mark.parametrize(("pilot", "whole"), [(7, 10), (7, 9), (4, 23), (5, 12)])
def test_a_grown_run_has_the_bytes_of_one_that_was_never_smaller(pilot: int, whole: int, tmp_path: Path):
    first = begin(tmp_path / "grown", pilot)
    make(first)
    grown = begin(tmp_path / "grown", whole)
    assert grown.id == first.id
    assert make(grown) == [grown.layout.sample(index).key for index in range(pilot, whole)], "made anew"
    assert grown.unfinished() == []
    fresh = begin(tmp_path / "fresh", whole)
    make(fresh)
    assert tar_hashes(grown.directory.path) == tar_hashes(fresh.directory.path)


def test_what_the_short_shard_took_stays_in_the_ledger(tmp_path: Path):
    def told(run: Run) -> tuple[int, float]:
        ledger = read_ledger(run.directory)
        return ledger.samples, ledger.total["generating"]

    pilot = begin(tmp_path, 7)
    make(pilot)
    assert told(pilot) == (7, 3.5)
    for prompts in (8, 10):
        reopen._write_journal(pilot.directory, 1)  # by a command that was killed before it came further
        grown = begin(tmp_path, prompts)
        assert told(grown) == (prompts - (1 if prompts == 8 else 2), told(pilot)[1])
        make(grown)
        assert told(grown) == (prompts, prompts / 2)


def test_repeats_and_failures_of_the_short_shard_are_kept(tmp_path: Path):
    pilot = begin(tmp_path, 4, "samples_per_prompt=2")
    make(pilot, failing=(5,))
    before = pq.read_table(pilot.directory.sidecar(1)).to_pylist()
    assert [row["status"] for row in before] == ["failed", "ok", "ok"]
    grown = begin(tmp_path, 5, "samples_per_prompt=2")
    make(grown)
    rows = pq.read_table(grown.directory.sidecar(1)).to_pylist()
    assert [row["status"] for row in rows] == ["failed", "ok", "ok", "ok", "ok"]
    assert rows[:3] == before


def test_a_kill_while_it_is_taken_back_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pilot = begin(tmp_path, 7)
    make(pilot)
    before = tar_hashes(pilot.directory.path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(reopen, "_is_short", _interrupt_at(2))  # between the new records and the shard
        begin(tmp_path, 10)
    assert pilot.directory.read()["samples"] == 10 and tar_hashes(pilot.directory.path) == before
    clear_leftovers(pilot.directory)
    grown = begin(tmp_path, 10)
    assert grown.unfinished() == [1]
    assert len(make(grown)) == 3


def _interrupt_at(call: int):
    real, calls = reopen._is_short, 0

    def is_short(*arguments) -> bool:
        nonlocal calls
        calls += 1
        if calls > call:
            raise KeyboardInterrupt
        return real(*arguments)

    return is_short


def test_a_task_of_the_pilot_does_not_publish_a_short_shard_any_more(tmp_path: Path):
    pilot = begin(tmp_path, 7)
    grown = begin(tmp_path, 10)
    make(pilot)
    assert grown.unfinished() == [1]
    assert len(make(grown)) == 3, "what the pilot's task made is taken over"


def test_another_command_line_asks_for_less_than_there_is(tmp_path: Path):
    run = begin(tmp_path, 10)
    make(run)
    same = resolved(
        f"prompt_file={tmp_path}/p.txt", "total_prompt_num=10", "shard_size=5", f"output_base_path={tmp_path}",
        "exp_name=run",
    )  # fmt: skip
    create(same)
    assert same.unfinished() == []
