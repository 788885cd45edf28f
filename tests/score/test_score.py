"""Scoring runs that were made without a model: tables, what goes on after failures, and what is refused."""

import json
import sys

import pyarrow.parquet as pq
import pytest

from jobs.execute.halt import Halt
from jobs.options.score import parse_score
from jobs.score.command import score
from tests.export.runs import finished_run, lines, make_shards
from tests.score.scored import refusal, rows, scorings, work
from tests.support import new_run, tar_hashes

OWN = """
import numpy as np

def mean(media, rows):
    assert media.dtype == np.uint8 and media.shape[1:] == (16, 16, 3)
    return {"mean": media.mean((1, 2, 3)), "words": [len(row["prompt"].split()) for row in rows],
            "kind": ["even" if row["seed"] % 2 == 0 else "odd" for row in rows], "nan": [float("nan")] * len(rows)}

def boom(media, rows):
    if any(row["sample_index"] == 6 for row in rows):
        raise RuntimeError("no such picture")
    return {"boom": [1] * len(rows)}

def broken(media, rows):
    raise RuntimeError("never")

def short(media, rows):
    return {"short": [1]}

def odd(media, rows):
    return {"odd": [{}] * len(rows)}

def large(media, rows):
    return {"large": [2**64 - 1] * len(rows)}

def half(media, rows):
    return {"half": ["\\ud800"] * len(rows)}

def frame(media, rows):
    import pandas
    return pandas.DataFrame({"frame": [1] * len(rows)})

def series(media, rows):
    import pandas
    ids = [row["sample_index"] for row in rows]
    return {"index": pandas.Series(ids, index=range(len(ids))[::-1])}

def word(media, rows):
    return {"word": "abcdefgh"[:len(rows)]}

def wide(media, rows):
    return {"wide": media.mean((1, 2))}

def none(media, rows):
    return {}

def key(media, rows):
    return {"key": ["mine"] * len(rows)}

def status(media, rows):
    return {"fine": [1] * len(rows), "status": ["failed"] * len(rows)}

def prompt(media, rows):
    return {"Prompt": ["mine"] * len(rows)}

def nested(media, rows):
    return {"algo_name": ["mine"] * len(rows)}

def one_argument(media):
    return {}
"""


def test_a_function_of_the_user_gets_pixels_and_rows(run, own) -> None:
    (own / "mine.py").write_text(OWN)
    (scoring,) = scorings(run, "scorers=[mine:mean]")
    told = work(scoring)
    assert sum(event[0] == "sample" for event in told) == 11 and sum(event[0] == "done" for event in told) == 3
    table = rows(run, "mine:mean")
    assert all(60 < row["mean"] < 190 and row["words"] == 5 and row["kind"] in ("even", "odd") for row in table)
    assert [row["nan"] for row in table] == [None] * 11


def test_values_are_taken_in_their_order_whatever_index_they_have(run, own) -> None:
    (own / "mine.py").write_text(OWN)
    work(scorings(run, "scorers=[mine:series]")[0])
    assert all(row["index"] == row["sample_index"] for row in rows(run, "mine:series"))


def test_a_sample_that_a_function_fails_at_is_named_and_nothing_else_is_lost(run, own) -> None:
    (own / "mine.py").write_text(OWN)
    for command_number in range(2):
        (scoring,) = scorings(run, "scorers=[mine:boom]")
        told = work(scoring)
        failed = [detail for event, _, detail in told if event == "failed"]
        assert failed == ["00000006_0000: mine:boom: RuntimeError: no such picture"]
        assert scoring.unfinished() == ([1] if command_number == 0 else [])
    table = {row["sample_index"]: row for row in rows(run, "mine:boom")}
    assert {index for index, row in table.items() if row["boom"] is None} == {6}
    assert (table[6]["status"], table[6]["reason"]) == ("failed", "mine:boom: RuntimeError: no such picture")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("broken", "mine:broken: RuntimeError: never"),
        ("short", "column short has 1 values for"),
        ("odd", "column odd has a dict: values must be numbers, texts, or None"),
        ("large", "column large has 18446744073709551615, which does not fit 64 bits: give it as a text"),
        ("half", "column half has '\\ud800', which is no text"),
        ("wide", "column wide has values of shape (3,): give one number for each sample"),
        ("frame", "it must return columns, like {'name': [values]}, not DataFrame"),
        ("word", "column word is a str: give a list, or an array"),
        ("none", "it must return columns, like {'name': [values]}, not none"),
        ("key", "a column is called key, which every sample has by itself: call it otherwise"),
        ("status", "a column is called status, which every sample has by itself: call it otherwise"),
        ("prompt", "a column is called Prompt, which every sample has by itself: call it otherwise"),
        ("nested", "a column is called algo_name, which every sample has by itself: call it otherwise"),
    ],
)
def test_a_broken_function_publishes_nothing_and_says_why(run, own, function, said) -> None:
    (own / "mine.py").write_text(OWN)
    for _ in range(3):
        (scoring,) = scorings(run, f"scorers=[mine:{function}]", "batch_size=2")
        told = work(scoring)
        assert any(said in detail for event, _, detail in told if event == "failed") or _ > 1
        assert len(scoring.unfinished()) == 3 or function == "short"
    # mended code goes on in the same folder, since nothing was scored yet
    if function == "broken":
        (own / "mine.py").write_text(OWN.replace('raise RuntimeError("never")', 'return {"fine": [1] * len(rows)}'))
        sys.modules.pop("mine")
        (scoring,) = scorings(run, "scorers=[mine:broken]", "batch_size=2")
        work(scoring)
        assert [row["fine"] for row in rows(run, "mine:broken")] == [1] * 11


def test_other_code_does_not_go_on_with_what_is_scored(run, own, capsys) -> None:
    (own / "mine.py").write_text(OWN)
    work(scorings(run, "scorers=[mine:mean]")[0])
    (own / "mine.py").write_text(OWN + "\n")
    sys.modules.pop("mine")
    assert "holds other scores: code was" in refusal(capsys, run, "scorers=[mine:mean]")


def test_a_stopped_scoring_goes_on_where_it_was(run, own) -> None:
    """Halted before the second batch of a shard: what is scored is taken over, in the same batches."""
    (own / "mine.py").write_text(OWN)
    (scoring,) = scorings(run, "scorers=[mine:mean]", "batch_size=2")
    looks = 0

    def look(halt: Halt) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            halt.ask("enough")

    first = work(scoring, Halt(look=look))
    assert [event for event, *_ in first] == ["sample", "sample"]
    told = work(scoring)
    assert [event for event, *_ in told].count("inherited") == 2
    whole = finished_run(run.parent / "again", lines(12), fails={3: "ValueError: no"}).directory.path
    work(scorings(whole, "scorers=[mine:mean]", "batch_size=2")[0])
    assert rows(run, "mine:mean") == rows(whole, "mine:mean")


def test_an_unfinished_run_is_scored_as_far_as_it_is(tmp_path, capsys) -> None:
    made = finished_run(tmp_path, lines(12), shards=range(2))
    path = made.directory.path
    work(scorings(path, "scorers=basic")[0])
    assert score(path, parse_score([])[1], ["device=cpu"], launch=False) == 1
    assert "the same command later scores the 1 shards that are still to come" in capsys.readouterr().out
    make_shards(made, {}, range(2, 3))
    work(scorings(path, "scorers=basic")[0])
    assert score(path, parse_score([])[1], ["device=cpu"], launch=False) == 0
    assert len(rows(path, "near_duplicates")) == 12


def test_a_shard_that_has_more_samples_by_now_is_scored_again(tmp_path) -> None:
    path = finished_run(tmp_path, lines(7)).directory.path
    work(scorings(path, "scorers=basic")[0])
    stamp = (path / "scores/basic/meta/00000.parquet").stat().st_mtime_ns
    (tmp_path / "prompts.txt").write_text(lines(12))
    grown = new_run(tmp_path, f"prompt_file={tmp_path / 'prompts.txt'}", "shard_size=5")
    make_shards(grown, {}, range(1, 3))
    (scoring,) = scorings(path, "scorers=basic")
    assert scoring.unfinished() == [1, 2]
    work(scoring)
    assert len(rows(path, "basic")) == 12
    assert (path / "scores/basic/meta/00000.parquet").stat().st_mtime_ns == stamp


def test_further_repeats_are_scored_and_the_others_stay(tmp_path) -> None:
    path = finished_run(tmp_path, lines(7)).directory.path
    work(scorings(path, "scorers=basic")[0])
    stamps = {p: p.stat().st_mtime_ns for p in (path / "scores/basic/meta").iterdir()}
    grown = new_run(tmp_path, f"prompt_file={tmp_path / 'prompts.txt'}", "shard_size=5", "samples_per_prompt=2")
    make_shards(grown, {}, range(2, grown.layout.num_shards))
    (scoring,) = scorings(path, "scorers=basic")
    assert scoring.unfinished() == [*range(2, grown.layout.num_shards)]
    work(scoring)
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps and len(rows(path, "basic")) == 14
    assert score(path, parse_score([])[1], ["device=cpu"], launch=False) == 0


def test_samples_of_later_passes_are_scored_too(tmp_path) -> None:
    path = finished_run(tmp_path, lines(12), fails={3: "ValueError: no", 8: "ValueError: no"}).directory.path
    later = new_run(tmp_path, f"prompt_file={tmp_path / 'prompts.txt'}", "shard_size=5", "retry_failed=true")
    make_shards(later, {}, range(1))
    found = scorings(path, "scorers=basic")
    for one in found:
        work(one)
    assert [one.directory.path.name for one in found] == ["basic", "basic.retry-1"]
    assert [row["sample_index"] for row in found[1].directory.table(0).to_pylist()] == [3, 8]
    assert score(path, parse_score([])[1], ["device=cpu"], launch=False) == 0
    assert (path / "scores/near_duplicates.retry-1/meta/00000.parquet").exists()


def test_duplicates_are_found_within_a_run_and_against_another(tmp_path, capsys) -> None:
    """Two runs of the same seeds have the same pictures."""
    one = finished_run(tmp_path / "one", lines(7), "exp_name=one").directory.path
    two = finished_run(tmp_path / "two", lines(9), "exp_name=two").directory.path
    assert "is not scored whole by basic" in refusal(capsys, one, f"against={two}")
    for path in (one, two):
        work(scorings(path, "scorers=basic")[0])
    assert score(one, parse_score([f"against={two}"])[1], ["device=cpu"], launch=False) == 0
    assert {row["near_duplicate_of"] for row in rows(one, "near_duplicates")} == {
        f"two:{number:08d}_0000" for number in range(7)
    }
    assert score(one, parse_score(["scorers=near_duplicates"])[1], ["device=cpu"], launch=False) == 0
    assert {row["near_duplicate_of"] for row in rows(one, "near_duplicates")} == {None}
    assert "is the run that is scored" in refusal(capsys, one, f"against={one}")


def test_bytes_that_are_not_those_that_were_published_are_not_scored(run) -> None:
    tar = run / "data/00001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    (scoring,) = scorings(run, "scorers=basic")
    told = work(scoring)
    assert any("has other bytes of" in detail for event, _, detail in told if event == "failed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scorers=[sharpness]"], "which is a column of basic: use scorers=[basic]"),
        (["scorers=[blurry]"], "there is no scorer 'blurry': there are basic, "),
        (["scorers=[]"], "scorers is empty"),
        (["scorer=basic"], "there is no option 'scorer'"),
        (["batch_size=0"], "batch_size must be a whole number of at least 1"),
        (["scorers=[nothing_here:f]"], "nothing_here cannot be imported: ModuleNotFoundError"),
        (["scorers=[mine:absent]"], "mine has no function absent: define def absent(media, rows)"),
        (["scorers=[mine:one_argument]"], "the function must take two arguments"),
        (["scorers=[sys:intern]"], "sys has no file, by which other code is told"),
        (["scorers=[quits:f]"], "quits cannot be imported: SystemExit: 3"),
        (["against=nowhere"], "nowhere is not a run"),
        (["hydra.launcher.partition=gpu"], "has no effect without -m"),
        (["ngpu=900"], "ngpu=900 is more than the"),
        (["shards=[7]"], "must lie within this run's shards"),
        (["wait=false"], "add -m hydra/launcher=submitit_slurm"),
        (["-m", "hydra/launcher=nobody"], "nobody"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_before_anything_is_written(run, own, capsys, words, said) -> None:
    (own / "mine.py").write_text(OWN)
    (own / "quits.py").write_text("raise SystemExit(3)")
    assert said in refusal(capsys, run, *words)
    assert not (run / "scores").exists()


def test_a_function_that_does_not_say_what_it_takes_is_tried(run, own) -> None:
    (own / "compiled.py").write_text("f = type")
    told = work(scorings(run, "scorers=[compiled:f]")[0])
    assert any("compiled:f: TypeError" in detail for event, _, detail in told if event == "failed")


def test_what_is_no_run_or_has_nothing_yet_is_refused(run, tmp_path, capsys, monkeypatch) -> None:
    work(scorings(run, "scorers=basic")[0])
    assert "holds scores of" in refusal(capsys, run / "scores/basic")
    record = json.loads((run / "run.json").read_text())
    (run / "retry-1").mkdir()
    (run / "retry-1/run.json").write_text(json.dumps({**record, "identity": {"retry": {}}}))
    monkeypatch.chdir(run)
    for place in ("scores/basic", "scores/../scores/basic", "retry-1"):
        assert f" of {run}: name that run" in refusal(capsys, place)
    assert "is not a run" in refusal(capsys, tmp_path)
    assert "name one run" in refusal(capsys)
    empty = new_run(tmp_path / "empty", f"prompt_file={tmp_path / 'prompts.txt'}")
    assert "has no finished shard yet" in refusal(capsys, empty.directory.path)
    assert json.loads((run / "run.json").read_text())["id"] and pq.read_table(run / "meta/00000.parquet").num_rows == 5
    assert len(tar_hashes(run)) == 3


def test_a_table_that_is_not_that_of_its_done_record_is_made_again(run) -> None:
    work(scorings(run, "scorers=basic")[0])
    table = run / "scores/basic/meta/00001.parquet"
    before = table.read_bytes()
    for damaged in (bytes(len(before)), (run / "scores/basic/meta/00000.parquet").read_bytes(), None):
        table.unlink()
        if damaged:
            table.write_bytes(damaged)
        (scoring,) = scorings(run, "scorers=basic")
        assert scoring.unfinished() == [1]
        work(scoring)
        assert table.read_bytes() == before


def test_what_holds_no_scores_is_said_with_what_to_do(run, capsys) -> None:
    (run / "scores").write_text("a file")
    assert "scores/basic cannot be made: Not a directory" in refusal(capsys, run)
    (run / "scores").unlink()
    work(scorings(run, "scorers=basic")[0])
    (run / "scores/basic/run.json").write_text("{")
    assert "is not valid JSON: restore it, or delete that folder to score again" in refusal(capsys, run)


def test_what_one_scorer_is_refused_keeps_the_others_from_beginning(run, own, capsys) -> None:
    (own / "mine.py").write_text(OWN)
    work(scorings(run, "scorers=[mine:mean]", "batch_size=4")[0])
    assert "batch_size was 4, is 8" in refusal(capsys, run, "scorers=[basic,mine:mean]")
    assert not (run / "scores/basic").exists()
