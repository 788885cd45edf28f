"""Exports of runs that were scored: their columns, what ``where`` and ``best_of`` keep, and what is refused."""

import json
import shutil
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from jobs.options.score import parse_score
from jobs.score.command import score
from jobs.score.reading import Media
from tests.export.runs import finished_run, lines, make_shards
from tests.export.test_export import WEB, export, files, refusal, samples
from tests.score.scored import rows as scores_of
from tests.score.scored import scorings, work
from tests.support import new_run

MINE = """
def mine(media, rows):
    return {"level": media.mean((1, 2, 3)), "odd": [row["sample_index"] % 2 == 1 for row in rows],
            "group": ["first" if row["sample_index"] < 5 else None for row in rows]}

def rude(media, rows):
    return {"seed": [1] * len(rows)}

def twice(media, rows):
    return {"level": [1] * len(rows)}

def same(media, rows):
    return {"LEVEL": [1] * len(rows)}

def place(media, rows):
    return {"start": [1] * len(rows), "end": [2] * len(rows), "media_start": [3] * len(rows)}

def kinds(media, rows):
    return {"kinds": [2**62 + 1 if rows[0]["sample_index"] < 5 else 0.5] * len(rows)}

def rows_and_sources(media, rows):
    return {"_source": [7] * len(rows), "_row": [7] * len(rows), "jobs_row": [7] * len(rows)}
"""
CHANCE = "where=hash(key || get_current_timestamp()::text) % 2 = 0 or odd"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples of each of six prompts, of which one was given up, scored by a function and by the program's own."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "mine_too.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        path = finished_run(folder, lines(6), "samples_per_prompt=2", fails={3: "ValueError: no"}).directory.path
        for one in scorings(path, "scorers=[basic,mine_too:mine]"):
            work(one)
    return path


@pytest.fixture
def copy(scored: Path, tmp_path: Path) -> Path:
    """The same, to change."""
    shutil.copytree(scored, tmp_path / "copy")
    return tmp_path / "copy"


def table(folder: Path) -> list[dict]:
    """The rows of an export."""
    return pq.read_table(folder / "metadata.parquet").to_pylist()


def stats(folder: Path) -> dict:
    """Its counts."""
    return json.loads((folder / "stats.json").read_text())


def test_scores_are_columns_of_the_table_and_the_card_tells_of_them(scored, tmp_path) -> None:
    export(scored, tmp_path / "out")
    found = {row["sample_index"]: row for row in table(tmp_path / "out")}
    measured = {row["sample_index"]: row for row in scores_of(scored, "mine_too:mine")}
    assert len(found) == 12 and found[3]["level"] is None
    for index, row in measured.items():
        assert {name: found[index][name] for name in ("level", "odd", "group")} == {
            name: row[name] for name in ("level", "odd", "group")
        }
    spread = stats(tmp_path / "out")["scores"]
    assert spread["level"]["samples"] == 11 and spread["level"]["least"] == min(
        row["level"] for row in measured.values()
    )
    card = (tmp_path / "out/README.md").read_text()
    assert "## Scores" in card and "| sharpness |" in card and "mine: code" in card
    assert "left out" not in card


def test_where_keeps_what_duckdb_would_and_the_card_counts_the_rest(scored, tmp_path) -> None:
    export(scored, tmp_path / "all")
    where = "level > (select median(level) from samples) and not odd"
    export(scored, tmp_path / "out", f"where={where}")
    with duckdb.connect() as database:
        database.read_parquet(str(tmp_path / "all/metadata.parquet")).create_view("samples")
        wanted = {key for (key,) in database.execute(f"select key from samples where {where}").fetchall()}
    assert 0 < len(wanted) < 8 and {*samples(tmp_path / "out")} == wanted
    kept = table(tmp_path / "out")
    assert {row["key"] for row in kept if row["status"] == "ok"} == wanted
    assert [row["sample_index"] for row in kept if row["status"] == "failed"] == [3]
    found = stats(tmp_path / "out")
    assert found["left_out"] == {f"not true of it: {where}": 11 - len(wanted)} and found["samples"] == len(wanted)
    card = (tmp_path / "out/README.md").read_text()
    assert f"Of what was generated, {11 - len(wanted)} samples were left out" in card
    assert found["prompts"] == len({row["prompt"] for row in kept})


def test_a_value_that_is_missing_is_counted_apart(scored, tmp_path) -> None:
    export(scored, tmp_path / "out", "where=\"group\" = 'first'")
    assert stats(tmp_path / "out")["left_out"] == {"a value is missing of: \"group\" = 'first'": 7}


def test_best_of_keeps_the_highest_of_each_prompt(scored, tmp_path) -> None:
    export(scored, tmp_path / "out", "best_of=1", "by=level", "split=0.5,0.5")
    everything = {row["sample_index"]: row for row in scores_of(scored, "mine_too:mine")}
    kept = [row for row in table(tmp_path / "out") if row["status"] == "ok"]
    assert len(kept) == 6
    for row in kept:
        others = [one for one in everything.values() if one["sample_index"] // 2 == row["sample_index"] // 2]
        assert row["level"] == max(one["level"] for one in others)
    assert stats(tmp_path / "out")["left_out"] == {"not among the best 1 of its prompt by level": 5}
    export(scored, tmp_path / "least", "best_of=1", "by=-level", "where=sharpness > 0")
    assert len(samples(tmp_path / "least")) == 6 and samples(tmp_path / "least") != samples(tmp_path / "out")


@pytest.mark.parametrize("form", ["webdataset", "parquet", "imagefolder"])
def test_the_same_choice_makes_the_same_bytes_in_every_format(scored, copy, tmp_path, form) -> None:
    for number, path in enumerate((scored, copy)):
        more = WEB if form == "webdataset" else ()
        export(path, tmp_path / f"{number}", f"format={form}", "where=odd", "shard_mb=0.003", *more)
    assert files(tmp_path / "0") == files(tmp_path / "1")


def test_an_export_that_goes_on_keeps_its_choice(scored, tmp_path, monkeypatch) -> None:
    """Even one that would come out otherwise a second time."""
    from jobs.export import export as making

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(making, "write_surroundings", stop)
        with pytest.raises(SystemExit):
            export(scored, tmp_path / "out", CHANCE)
    written = {path.name for path in (tmp_path / "out.partial/out/train").iterdir()}
    chosen = pq.read_table(tmp_path / "out.partial/chosen.parquet").num_rows
    export(scored, tmp_path / "out", CHANCE)
    assert written <= {path.name for path in (tmp_path / "out/train").iterdir()}
    assert len(samples(tmp_path / "out")) == chosen


def test_scores_that_came_later_make_another_export(copy, tmp_path, capsys) -> None:
    shutil.move(copy / "scores", tmp_path / "aside")
    export(copy, tmp_path / "out")
    assert not {"where", "best_of", "by", "scores"} & {*stats(tmp_path / "out")["export"]}
    shutil.move(tmp_path / "aside", copy / "scores")
    assert "holds another export: scores was null" in refusal(capsys, copy, tmp_path / "out")


def test_scores_of_later_passes_are_those_of_the_samples_that_they_made(tmp_path) -> None:
    path = finished_run(tmp_path, lines(7), fails={3: "ValueError: no"}).directory.path
    later = new_run(tmp_path, f"prompt_file={tmp_path / 'prompts.txt'}", "shard_size=5", "retry_failed=true")
    make_shards(later, {}, range(1))
    for one in scorings(path, "scorers=basic"):
        work(one)
    export(path, tmp_path / "out", "where=sharpness > 0")
    assert sorted(row["sample_index"] for row in table(tmp_path / "out")) == [*range(7)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["where=level >"], "where=level > is no SQL that DuckDB takes: Parser Error"),
        (["where=levels > 1"], "asks for levels: there are the columns key, split, prompt, "),
        (["where=aesthetic > 5.5"], "asks for aesthetic: no sample has it yet: run python -m jobs.score "),
        (["best_of=1", "by=clip_score"], "by=clip_score asks for clip_score: no sample has it yet: run"),
        (["where=near_duplicate_of is null"], "scorers=[near_duplicates] first"),
        (["where=level > 1000"], "is true of none of 11 samples"),
        (["where=level; drop table x"], "is no SQL that DuckDB takes"),
        (["where=true); drop table passed; select (1"], "is more than one statement: give a single condition"),
        (["where=key in (select key from 'keep.csv')"], "what is kept follows from the table alone"),
        (["where=key in (select content from read_text('/etc/hostname'))"], "follows from the table alone"),
        (["where=prompt + 1 > 0"], "where=prompt + 1 > 0"),
        (["best_of=1"], "add by=COLUMN"),
        (["by=level"], "add best_of=1"),
        (["best_of=0", "by=level"], "best_of must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(scored, tmp_path, capsys, words, said) -> None:
    assert said in refusal(capsys, scored, tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_a_choice_that_was_refused_is_mended_without_reading_the_shards_again(scored, tmp_path, monkeypatch) -> None:
    from jobs.export import export as making

    for words in (["where=level >"], ["where=level > 1000"], ["best_of=1", "by=nothing"]):
        with pytest.raises(SystemExit):
            export(scored, tmp_path / "out", *words)
    monkeypatch.setattr(making, "index_shard", None)
    export(scored, tmp_path / "out", "where=odd")
    assert {row["odd"] for row in table(tmp_path / "out") if row["file"]} == {True}
    assert not (tmp_path / "out.partial").exists()


def test_chance_chooses_alike_each_time(scored, tmp_path) -> None:
    for name in ("one", "two"):
        export(scored, tmp_path / name, "where=random() < 0.5", "best_of=1", "by=level")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_columns_that_differ_in_capitals_are_told_apart_in_sql(tmp_path, capsys) -> None:
    text = "\n".join(json.dumps({"prompt": f"{n}", "Mark": n, "mark": -n, "mark_1": 0}) for n in range(4))
    path = finished_run(tmp_path, text).directory.path
    assert "there are the columns" in refusal(capsys, path, tmp_path / "out", "where=metadata_mark > 1")
    for name, kept in (("metadata_Mark_2", [2, 3]), ("metadata_mark_3", []), ("metadata_mark_1", [])):
        if kept:
            export(path, tmp_path / name, f"where={name} > 1")
            assert [row["sample_index"] for row in table(tmp_path / name)] == kept
        else:
            assert "is true of none of 4 samples" in refusal(capsys, path, tmp_path / name, f"where={name} > 1")


def test_columns_may_be_called_as_this_program_calls_its_own(copy, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine_too.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for one in scorings(copy, "scorers=[mine_too:rows_and_sources,mine_too:place]"):
        work(one)
    export(copy, tmp_path / "out", "where=_row = 7 and odd and media_start = 3")
    rows = [row for row in table(tmp_path / "out") if row["file"]]
    assert [row["sample_index"] for row in rows] == [1, 5, 7, 9, 11]
    assert {(row["start"], row["end"], row["_source"]) for row in rows} == {(1, 2, 7)}


def test_large_whole_numbers_and_others_make_a_column_of_numbers(copy, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine_too.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    work(scorings(copy, "scorers=[mine_too:kinds]", "batch_size=5")[0])
    export(copy, tmp_path / "out")
    assert {row["kinds"] for row in table(tmp_path / "out")} == {float(2**62), 0.5, None}


def test_of_several_runs_the_key_that_a_sample_is_a_duplicate_of_is_that_of_the_export(tmp_path) -> None:
    paths = []
    for name in ("one", "two"):
        text = "\n".join(json.dumps({"prompt": f"{n}", "seed": n % 2}) for n in range(4))
        path = finished_run(tmp_path / name, text, f"exp_name={name}").directory.path
        work(scorings(path, "scorers=basic")[0])
        against = f"against={paths[0]}" if paths else "duplicate_bits=4"
        assert score(path, parse_score(["scorers=near_duplicates", against])[1], ["device=cpu"], launch=False) == 0
        paths.append(path)
    export(*paths, tmp_path / "out")
    found = {row["key"]: row["near_duplicate_of"] for row in table(tmp_path / "out")}
    assert [found[f"one-0000000{n}_0000"] for n in range(4)] == [None, None, "one-00000000_0000", "one-00000001_0000"]
    assert {found[f"two-0000000{n}_0000"] for n in range(4)} == {"one:00000000_0000", "one:00000001_0000"}


def test_scores_of_a_part_are_refused_unless_that_is_asked_for(copy, tmp_path, capsys) -> None:
    (copy / "scores/basic/done/00001.json").unlink()
    assert "has scores of basic for a part of its shards only" in refusal(capsys, copy, tmp_path / "out")
    export(copy, tmp_path / "out", "partial=true")
    nulls = [row["sample_index"] for row in table(tmp_path / "out") if row["sharpness"] is None]
    assert nulls == [3, 5, 6, 7, 8, 9]


def test_runs_of_which_one_is_not_scored_are_not_chosen_from_by_its_scores(scored, tmp_path, capsys) -> None:
    other = finished_run(tmp_path / "other", lines(3), "exp_name=other").directory.path
    export(scored, other, tmp_path / "both")
    for where in ("where=level>1", "where=LEVEL>1"):
        assert f"{other} has no level, which is asked for" in refusal(capsys, scored, other, tmp_path / "out", where)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("twice", "both have a column level"),
        ("same", "has a column LEVEL, which {}/scores/mine_too.mine has too, in other capitals"),
        ("rude", "has a column seed, which every sample has by itself"),
    ],
)
def test_columns_that_are_there_already_are_refused(copy, tmp_path, capsys, monkeypatch, function, said) -> None:
    (tmp_path / "mine_too.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Media, "names", lambda *_: set())  # as it was when scorings did not look
    work(scorings(copy, f"scorers=[mine_too:{function}]")[0])
    assert said.format(copy) in refusal(capsys, copy, tmp_path / "out")


def test_a_folder_of_scores_is_no_run_and_neither_is_a_pass(copy, tmp_path, capsys, monkeypatch) -> None:
    record = json.loads((copy / "run.json").read_text())
    (copy / "retry-1").mkdir()
    (copy / "retry-1/run.json").write_text(json.dumps({**record, "identity": {"retry": {}}}))
    monkeypatch.chdir(copy)
    said = f" of {copy}: name that run, it brings them along"
    for place in ("scores/basic", copy / "scores/basic", "retry-1"):
        assert said in refusal(capsys, place, tmp_path / "out")


def test_without_duckdb_a_choice_is_refused_with_what_to_install(scored, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert "pip install duckdb" in refusal(capsys, scored, tmp_path / "out", "where=odd")
    export(scored, tmp_path / "out")
