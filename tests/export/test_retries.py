"""Runs whose failed samples were tried again: the export holds what became of each sample in the end, once."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.run.run import Run
from tests.export.runs import finished_run, lines, make_shards
from tests.export.test_export import export, files, refusal, samples
from tests.support import new_run

FAILS = {1: "ValueError: no", 7: "ValueError: no", 8: "ValueError: no"}


def run_with_failures(folder: Path) -> Run:
    """Twelve samples in three shards, of which three were given up."""
    return finished_run(folder, lines(12), "sample_attempts=1", fails=FAILS)


def another_pass(folder: Path, *more: str) -> Run:
    """A pass over what failed, with nothing made yet."""
    options = ("shard_size=5", "sample_attempts=1", "retry_failed=true", *more)
    return new_run(folder, f"prompt_file={folder / 'prompts.txt'}", *options)


def rows(folder: Path) -> dict[str, dict]:
    """Key -> row of the table."""
    found = pq.read_table(folder / "metadata.parquet").to_pylist()
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: row for row in found}


@pytest.mark.parametrize("form", ["webdataset", "parquet", "imagefolder"])
def test_what_a_later_pass_made_is_in_the_export(tmp_path, form) -> None:
    run = run_with_failures(tmp_path)
    make_shards(another_pass(tmp_path), {8: "ValueError: again"}, range(1))
    make_shards(another_pass(tmp_path), {}, range(1))
    options = [f"format={form}", *(["shard_mb=0", "energon=false"] if form == "webdataset" else [])]
    export(run.directory.path, tmp_path / "out", *options)
    found = rows(tmp_path / "out")
    assert len(found) == 12 and {row["status"] for row in found.values()} == {"ok"}
    stats = json.loads((tmp_path / "out/stats.json").read_text())
    assert (stats["samples"], stats["given_up"], stats["reasons"]) == (12, 0, {})
    if form == "webdataset":
        assert len(samples(tmp_path / "out")) == 12
        tars = [run.directory.path / f"{where}data/00000.tar" for where in ("retry-1/", "retry-2/")]
        for number, tar in enumerate(tars, 3):
            assert os.path.samefile(tar, tmp_path / f"out/train/train-{number:05d}.tar")
    if form == "imagefolder":
        assert len(list((tmp_path / "out").rglob("*.png"))) == 12
    if form == "parquet":
        assert len(pq.read_table(tmp_path / "out/train")) == 12


def test_what_failed_again_is_told_once_with_its_last_reason(tmp_path) -> None:
    run = run_with_failures(tmp_path)
    make_shards(another_pass(tmp_path), {8: "ValueError: again"}, range(1))
    export(run.directory.path, tmp_path / "out")
    failed = {key: row["reason"] for key, row in rows(tmp_path / "out").items() if row["status"] == "failed"}
    assert failed == {"00000008_0000": "ValueError: again"}
    assert len(samples(tmp_path / "out")) == 11


def test_a_pass_that_is_not_finished_is_refused_or_left_out(tmp_path, capsys) -> None:
    run = run_with_failures(tmp_path)
    another_pass(tmp_path)
    said = refusal(capsys, run.directory.path, tmp_path / "out")
    assert "retry-1 is not finished: 1 of 1 shards (3 of 3 samples)" in said and "with retry_failed=true" in said
    export(run.directory.path, tmp_path / "out", "partial=true")
    assert [row["status"] for row in rows(tmp_path / "out").values()].count("failed") == 3


def test_a_pass_in_which_nothing_succeeded_keeps_nobody_waiting(tmp_path) -> None:
    run = run_with_failures(tmp_path)
    export(run.directory.path, tmp_path / "before")
    make_shards(another_pass(tmp_path), FAILS, range(1))
    export(run.directory.path, tmp_path / "after")
    assert files(tmp_path / "after") == files(tmp_path / "before")


def test_a_pass_is_exported_with_its_run_only(tmp_path, capsys) -> None:
    run = run_with_failures(tmp_path)
    later = another_pass(tmp_path)
    make_shards(later, {}, range(1))
    assert "name that run" in refusal(capsys, later.directory.path, tmp_path / "out")
    assert "lies within the run" in refusal(capsys, run.directory.path, later.directory.path / "out")


@pytest.mark.parametrize("form", ["webdataset", "parquet", "imagefolder"])
def test_a_sample_that_was_made_twice_is_in_the_export_once(tmp_path, form) -> None:
    """As where a shard's done record was deleted to make it again, and a later pass had made what failed in it."""
    run = run_with_failures(tmp_path)
    make_shards(another_pass(tmp_path), {}, range(1))
    run.directory.done_record(0).unlink()
    make_shards(run, {}, range(1))
    export(run.directory.path, tmp_path / "out", f"format={form}", "energon=false", "shard_mb=0")
    found = rows(tmp_path / "out")
    assert len(found) == 12 and found["00000001_0000"]["shard"] == 0
    if form == "webdataset":
        assert len(samples(tmp_path / "out")) == 12  # each member once
    if form == "parquet":
        assert sorted(pq.read_table(tmp_path / "out/train")["key"].to_pylist()) == sorted(found)
