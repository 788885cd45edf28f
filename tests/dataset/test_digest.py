"""A table's digest: what it holds, and nothing of how it was written."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from jobs.base.errors import BadInput
from tests.dataset.files import lines, read, write

ROWS: list[dict[str, Any]] = [
    {"prompt": "a red circle", "seed": 1, "score": 0.5, "source": "x"},
    {"prompt": "a blue star", "seed": 2, "score": 1.5, "source": "y"},
    {"prompt": "a pink cross", "seed": 3, "score": 2.5, "source": "x"},
]
HEADER = ",".join(ROWS[0])
CSV = "\n".join([HEADER, *(",".join(map(str, row.values())) for row in ROWS)])
FORMS = {
    "p.jsonl": lines(*ROWS),
    "q.jsonl.gz": "\r\n\r\n".join(json.dumps(dict(reversed(row.items()))) for row in ROWS),
    "p.json": json.dumps(ROWS),
    "p.csv": CSV,
    "r.csv": CSV.replace(",", ";").replace("\n", "\r").encode("utf-16"),
    "p.tsv": CSV.replace(",", "\t"),
    "p.parquet": {name: [row[name] for row in ROWS] for name in ROWS[0]},
    "capitals.csv": CSV.replace("seed", "Seed"),
}


def test_it_does_not_depend_on_name_format_or_packing(tmp_path: Path):
    digests = {name: read(write(tmp_path, name, content)).digest(3) for name, content in FORMS.items()}
    assert len(set(digests.values())) == 1, digests


def test_it_does_not_depend_on_what_follows(tmp_path: Path):
    long = read(write(tmp_path, "long.jsonl", lines(*ROWS, {**ROWS[0], "prompt": "another"})))
    assert long.digest(3) == read(write(tmp_path, "p.jsonl", FORMS["p.jsonl"])).digest(3) != long.digest(4)
    assert long.digest(2) == read(tmp_path / "long.jsonl", 2).digest(2)


CHANGES: list[Any] = [
    pytest.param({"prompt": "a red square"}, id="text"),
    pytest.param({"seed": 9}, id="setting"),
    pytest.param({"seed": None}, id="setting-left-open"),
    pytest.param({"score": 0.25}, id="metadata"),
    pytest.param({"score": None}, id="gap"),
    pytest.param({"source": "z"}, id="metadata-text"),
    pytest.param({"more": ""}, id="a-column-of-nothing"),
    pytest.param({"height": None}, id="a-setting-of-nothing"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_it_depends_on_all_that_was_read(tmp_path: Path, change: dict[str, Any]):
    before = read(write(tmp_path, "p.jsonl", FORMS["p.jsonl"])).digest(3)
    after = read(write(tmp_path, "q.jsonl", lines({**ROWS[0], **change}, *ROWS[1:]))).digest(3)
    assert after != before


def test_a_setting_kept_as_metadata_is_another(tmp_path: Path):
    path = write(tmp_path, "p.jsonl", FORMS["p.jsonl"])
    assert read(path).digest(3) != read(path, columns={"seed": "metadata"}).digest(3)


def test_many_prompts_are_hashed_in_pieces_that_no_later_one_changes(tmp_path: Path):
    texts = [f"prompt {number}" for number in range(40_000)]
    long, short = (read(write(tmp_path, f"{n}.txt", "\n".join(texts[:n]))) for n in (40_000, 20_000))
    assert long.digest(20_000) == short.digest(20_000) != long.digest(40_000)


# --- handed to worker processes


def test_a_table_is_pickled_as_the_place_to_read_it_from(tmp_path: Path):
    path = write(tmp_path, "p.txt", "\n".join(f"prompt {number}" for number in range(5000)))
    table = read(path, 4000)
    data = pickle.dumps(table)
    assert len(data) < 1000
    assert pickle.loads(data) == table
    path.write_text("another\n" * 5000)
    with pytest.raises(BadInput, match=r"p\.txt was changed since this command began: run the command again"):
        pickle.loads(data)


def test_how_it_was_read_goes_along(tmp_path: Path):
    path = write(tmp_path, "p.csv", "words,steps,n\na,5,1\n,6,2\nb,7,3\n")
    table = read(path, prompt_column="words", columns={"steps": "num_inference_steps"}, empty="skip")
    again = pickle.loads(pickle.dumps(table))
    assert again == table and again.settings == {"num_inference_steps": [5, 7]}


def test_what_is_appended_meanwhile_does_not_matter_but_fewer_prompts_do(tmp_path: Path):
    path = write(tmp_path, "p.txt", "a\nb\n")
    data = pickle.dumps(read(path))
    path.write_text("a\nb\nc\n")
    assert pickle.loads(data).texts == ["a", "b"]
    path.write_text("a\n")
    with pytest.raises(BadInput, match=r"p\.txt was changed since"):
        pickle.loads(data)
