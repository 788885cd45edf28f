"""Exports as the programs that read them see them: each format by its real readers."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import duckdb
import pandas
import polars
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from jobs.export.__main__ import main
from jobs.export.lines import own_names
from tests.export.runs import finished_run
from tests.support import PROJECT

ROWS = [
    {"prompt": f"a circle, number {number}", "score": number / 2, "group": f"g{number % 3}"} for number in range(12)
]
ROWS[3]["prompt"] = 'a "quoted" <script>alert(1)</script> | `code` [link](javascript:x) & \\ 漢字'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve samples of which one was given up."""
    folder = tmp_path_factory.mktemp("run")
    return finished_run(folder, "\n".join(map(json.dumps, ROWS)), fails={5: "ValueError: no"}).directory.path


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with everything that can be in one."""
    folder = tmp_path_factory.mktemp("web") / "data set"
    assert main([str(run), str(folder), "split=0.7,0.3", "shard_mb=0.02", "energon=true"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(folder: Path) -> dict[str, dict]:
    """Key -> row of what has a file."""
    rows = pq.read_table(folder / "metadata.parquet").to_pylist()
    return {row["key"]: row for row in rows if row["file"]}


def read_by(folder: Path, *readers: str) -> dict[str, dict]:
    """Let programs that need torch read an export, in a process of their own."""
    here = Path(__file__).parent
    path = [str(PROJECT), *([] if _torchvision_works() else [str(here / "stand_in")])]
    done = subprocess.run(
        [sys.executable, str(here / "foreign.py"), str(folder), *readers],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "WIDS_CACHE": str(folder.parent / "wids")},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict] = json.loads(done.stdout.splitlines()[-1])
    return found


def _torchvision_works() -> bool:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.slow
def test_what_the_card_says_of_reading_is_true(exported) -> None:
    rows = table(exported)
    train = {row["sha256"] for row in rows.values() if row["split"] == "train"}
    found = read_by(exported, "card", "open_clip")
    assert {*found} == {"webdataset", "datasets", "wids", "megatron", "duckdb", "open_clip"}
    assert found["duckdb"]["count"] == 12
    for name in ("webdataset", "datasets", "wids", "megatron"):
        assert found[name]["count"] == len(train), name
    pixels = {picture(exported, row) for row in rows.values() if row["split"] == "train"}
    for name in ("webdataset", "wids", "megatron", "open_clip"):
        assert {*found[name]["pixels"]} == pixels, name
    assert found["open_clip"]["count"] == len(train)
    assert {*found["megatron"]["texts"]} == {row["prompt"] for row in rows.values() if row["split"] == "train"}


def picture(folder: Path, row: dict) -> str:
    """A hash of a sample's pixels."""
    import tarfile

    with tarfile.open(folder / row["file"]) as archive:
        file = archive.extractfile(f"{row['key']}.png")
        assert file
        return hashlib.sha256(Image.open(io.BytesIO(file.read())).convert("RGB").tobytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("shares", ["0,1", "0,0,1"])
def test_what_the_card_says_of_reading_is_true_without_a_split_to_train_on(run, tmp_path, shares) -> None:
    folder = tmp_path / "out"
    assert main([str(run), str(folder), f"split={shares}", "energon=true"]) == 0
    found = read_by(folder, "card")
    assert {name: one["count"] for name, one in found.items() if name != "duckdb"} == dict.fromkeys(
        ("webdataset", "datasets", "wids", "megatron"), 11
    )


def test_datasets_reads_the_folder_as_a_repository_of_the_hub(exported) -> None:
    rows = table(exported)
    found = datasets.load_dataset(str(exported))
    assert {*found} == {"train", "validation"}
    for split in found:
        assert {one["__key__"] for one in found[split]} == {key for key, row in rows.items() if row["split"] == split}
        assert all(one["txt"] == rows[one["__key__"]]["prompt"] for one in found[split])
        streamed = datasets.load_dataset(str(exported), split=split, streaming=True)
        assert [one["__key__"] for one in streamed] == found[split]["__key__"][:]


def test_the_card_is_what_the_hub_takes(exported) -> None:
    card = DatasetCard.load(exported / "README.md")
    data = card.data.to_dict()
    assert (data["license"], data["size_categories"], data["task_categories"]) == (
        *("apache-2.0", ["n<1K"]),
        ["text-to-image"],
    )
    counts = {split["name"]: split["num_examples"] for split in data["dataset_info"]["splits"]}
    rows = table(exported)
    assert counts == {s: sum(row["split"] == s for row in rows.values()) for s in ("train", "validation")}
    assert "1 more were given up" in card.text and "ValueError: no" in card.text
    assert "<script" not in card.text and "](javascript" not in card.text


def test_tables_are_read_by_duckdb_pandas_and_polars(exported) -> None:
    path = exported / "metadata.parquet"
    query = f"select count(*), sum(metadata_score), max(algo_evaluated[3]) from '{path}' where status = 'ok'"
    scores = [row["score"] for number, row in enumerate(ROWS) if number != 5]
    assert duckdb.sql(query).fetchall() == [(11, sum(scores), 7)]
    frame = pandas.read_parquet(path)
    assert frame[frame.status == "failed"].reason.tolist() == ["ValueError: no"]
    given_up = frame.metadata_group.isna().tolist()
    assert given_up == [number == 5 for number in range(12)]  # whose columns no file has
    assert polars.read_parquet(path)["prompt"].to_list() == [row["prompt"] for row in ROWS]


def test_parquet_has_the_pictures_in_row_groups_that_a_viewer_shows(tmp_path) -> None:
    run = finished_run(tmp_path, "\n".join(f"a dot, number {number}" for number in range(230)), "shard_size=64")
    folder = tmp_path / "out"
    assert main([str(run.directory.path), str(folder), "format=parquet", "split=0.9,0.1"]) == 0
    rows = table(folder)
    (file,) = (folder / "train").glob("*.parquet")
    groups = pq.ParquetFile(file).metadata
    assert max(groups.row_group(number).num_rows for number in range(groups.num_row_groups)) <= 100
    found = datasets.load_dataset(str(folder), split="train")
    assert isinstance(found.features["image"], datasets.Image) and len(found) > 150
    assert found[0]["image"].size == (16, 16)
    raw = found.cast_column("image", datasets.Image(decode=False))
    for one in raw:
        assert hashlib.sha256(one["image"]["bytes"]).hexdigest() == rows[one["key"]]["sha256"]
        assert rows[one["key"]]["file"] == "train/train-00000.parquet"
    streamed = datasets.load_dataset(str(folder), split="validation", streaming=True)
    assert {one["key"] for one in streamed} == {key for key, row in rows.items() if row["split"] == "validation"}


def test_image_folders_come_with_their_metadata(run, tmp_path) -> None:
    folder = tmp_path / "out"
    assert main([str(run), str(folder), "format=imagefolder", "split=0.7,0.3"]) == 0
    rows = table(folder)
    for row in rows.values():
        assert hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    found = datasets.load_dataset(str(folder))
    assert {s: len(found[s]) for s in found} == {
        s: sum(row["split"] == s for row in rows.values()) for s in ("train", "validation")
    }
    for one in found["train"]:
        assert one["text"] == rows[one["key"]]["prompt"] and one["image"].size == (16, 16)


SPARSE = [{"prompt": f"{n}", "mark": n if n == 3 else None} for n in range(12)]
DATES = [{"prompt": f"{n}", "day": f"2026-01-{n + 1:02}"} for n in range(12)]
NAMED = [{"prompt": f"{n}", "file_name": "x.jpg", "all_file_names": "y", "image": "z", "text": "t"} for n in range(12)]


@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
@pytest.mark.parametrize(("lines", "parts"), [(SPARSE, "parquet"), (DATES, "parquet"), (NAMED, "jsonl")])
def test_datasets_reads_columns_of_any_name_and_with_gaps_as_what_they_are(tmp_path, form, lines, parts) -> None:
    """A column may be null in a whole split, look like a time, or be called as `datasets` calls what names a file."""
    path = finished_run(tmp_path, "\n".join(map(json.dumps, lines))).directory.path
    folder = tmp_path / "out"
    assert main([str(path), str(folder), f"format={form}", "split=0.5,0.3,0.2"]) == 0
    if form == "imagefolder":
        assert (folder / f"train/metadata.{parts}").is_file()
        assert f"and `metadata.{parts}` with a row for each" in (folder / "README.md").read_text()
    rows = table(folder)
    found = {}
    for split in datasets.load_dataset(str(folder)).values():
        found |= {one["key"]: one for one in split}
    assert found.keys() == rows.keys()
    for key, row in rows.items():
        own = {name.rstrip("_"): value for name, value in found[key].items()}
        assert own["image"].size == (16, 16) and own["prompt"] == row["prompt"]
        columns = [name for name in row if name.startswith("metadata_")]
        assert {name: own[name] for name in columns} == {name: row[name] for name in columns}


def test_columns_of_scores_that_readers_take_for_their_own_get_another_name() -> None:
    taken = {"image", "text"}.__contains__
    assert own_names(["image", "text_", "text", "key"], taken) == ["image_", "text_", "text__", "key"]


@pytest.mark.slow
def test_mosaicml_streaming_reads_what_its_library_wrote(run, tmp_path) -> None:
    found = read_by(tmp_path / "out", f"mds:{run}")
    rows = table(tmp_path / "out")
    assert found["mds"]["sha256"] == {key: row["sha256"] for key, row in rows.items()}
    assert {row["file"] for row in rows.values()} == {"train"}
    assert re.search(r"streaming\.StreamingDataset", (tmp_path / "out/README.md").read_text())
