"""Folders and globs of prompt files: which files, in which order, as which list."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from jobs.base.errors import BadInput
from jobs.dataset.source import PromptSource
from tests.dataset.files import lines, read, write


def lay(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        write(folder, name, content)
    return folder


SHARDS = {f"part-0000{n}.parquet": {"prompt": [f"a{n}", f"b{n}"], "n": [n, n + 10]} for n in (2, 0, 1)}
LISTS: list[Any] = [
    # files, what is named, the prompts, the place of the last one
    pytest.param(SHARDS, "", ["a0", "b0", "a1", "b1", "a2", "b2"], "part-00002.parquet row 2", id="sharded-parquet"),
    pytest.param(SHARDS, "part-*[01].parquet", ["a0", "b0", "a1", "b1"], "part-00001.parquet row 2", id="glob"),
    pytest.param({"b.txt": "c\n\nd\n", "a.txt": "a\nb\n"}, "", ["a", "b", "c", "d"], "b.txt line 3", id="txt"),
    pytest.param(
        {"a.jsonl.gz": '{"prompt": "a"}', "b.jsonl": '{"prompt": "b"}'}, "", ["a", "b"], "b.jsonl line 1", id="gz"
    ),
    pytest.param({"a.json": '["a"]', "b.json": '["b", "c"]'}, "*.json", ["a", "b", "c"], "b.json entry 2", id="json"),
    pytest.param(
        {"a.csv": "prompt\na\n", "cat.png": b"png", ".b.csv": "x", "sub/c.csv": "prompt\nc\n", "notes.md": "#"},
        "", ["a"], "a.csv line 2", id="others-hidden-and-below",
    ),
    pytest.param(
        {"b/x.csv": "prompt\nc\n", "a/y.csv": "prompt\nb\n", "z.csv": "prompt\nd\n", "a/b/x.csv": "prompt\na\n"},
        "**/*.csv", ["a", "b", "c", "d"], "z.csv line 2", id="at-any-depth",
    ),
    pytest.param({"p.parquet": SHARDS["part-00002.parquet"]}, "*", ["a2", "b2"], "p.parquet row 2", id="one"),
    pytest.param({"a.csv": "prompt\n", "b.csv": "prompt\nb\n"}, "", ["b"], "b.csv line 2", id="an-empty-shard"),
    pytest.param({"a[1].txt": "a\n", "a1.txt": "b\n"}, "a[1].txt", ["a"], "a[1].txt line 1", id="a-name-like-a-glob"),
    pytest.param({"a*b/x.txt": "a\nb\n", "aab/x.txt": "c\n"}, "a*b", ["a", "b"], "a*b/x.txt line 2", id="a-folder-so"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "named", "texts", "last"), LISTS)
def test_many_files_are_one_list(tmp_path: Path, files: dict[str, Any], named: str, texts: list[str], last: str):
    table = read(lay(tmp_path, files) / named)
    assert table.texts == texts
    assert table.where(len(texts) - 1) == f"{tmp_path}/{last}"
    assert pickle.loads(pickle.dumps(table)) == table


def test_columns_of_the_files_are_put_together(tmp_path: Path):
    lay(tmp_path, {"a.jsonl": lines({"prompt": "a", "n": 1}), "b.jsonl": lines({"prompt": "b", "seed": 5, "n": 0.5})})
    table = read(tmp_path)
    assert (table.settings, table.metadata) == ({"seed": [None, 5]}, {"n": [1.0, 0.5]})


CAPTIONS = {"1.txt": "one\n", "10.txt": "\nten\n", "2.txt.gz": "two"}


def test_the_files_of_single_captions_are_their_ids(tmp_path: Path):
    table = read(lay(tmp_path, CAPTIONS))
    assert (table.texts, table.settings) == (["one", "ten", "two"], {"id": ["1", "10", "2"]})
    assert table.where(1) == f"{tmp_path}/10.txt line 2"
    again = read(lay(tmp_path, {"below/1.txt": "eleven"}) / "**" / "*.txt*")
    assert again.settings == {"id": ["1", "10", "2", "below/1"]}


def test_an_empty_caption_is_an_empty_prompt(tmp_path: Path):
    lay(tmp_path, {**CAPTIONS, "3.txt": "\n"})
    with pytest.raises(BadInput, match=r"3\.txt line 1 has no prompt: .*empty_prompts=skip"):
        read(tmp_path)
    table = read(tmp_path, empty="skip")
    assert (table.texts, table.settings) == (["one", "ten", "two"], {"id": ["1", "10", "2"]})


REFUSED: list[Any] = [
    pytest.param({}, "", "prompt_file {} leads to no file that ends in one of .txt, .jsonl, .json", id="empty"),
    pytest.param({"a.md": "a"}, "*", "prompt_file {}/* leads to no file that ends", id="nothing-known"),
    pytest.param({}, "none", "prompt_file {}/none does not exist: give the path", id="no-such-folder"),
    pytest.param(
        {"a.txt": "a", "b.csv": "prompt"}, "",
        "prompt_file {0} names .csv and .txt files: choose one kind, like prompt_file='{0}/*.csv'", id="two-formats",
    ),
    pytest.param(
        {"a/a.txt": "a", "b/b.json": "[]"}, "**/*",
        "prompt_file {0}/**/* names .json and .txt files: choose one kind, like prompt_file='{0}/**/*.json'", id="glob",
    ),
    pytest.param({"a.csv": "prompt\na\n", "b.csv": "words\nb\n"}, "", "{}/b.csv has no column 'prompt': it has 'words'",
                 id="a-file-without-the-column"),
    pytest.param({**CAPTIONS, "4.txt": "a red\ncircle\n"}, "",
                 "{}/4.txt has 2 lines where most files have one: write its prompt on one line", id="a-broken-caption"),
    pytest.param({"a.csv": "prompt\na\n", "b.csv": "prompt,n\nb\n"}, "", "{}/b.csv line 2 has 1 cells", id="line"),
    pytest.param({"a.csv": "prompt,id\na,x\n", "b.csv": "prompt,id\nb,x\n"}, "",
                 "{0}/b.csv line 2 repeats the id 'x' of {0}/a.csv line 2", id="ids"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "named", "sentence"), REFUSED)
def test_what_is_no_list_is_refused(tmp_path: Path, files: dict[str, Any], named: str, sentence: str):
    with pytest.raises(BadInput) as caught:
        read(lay(tmp_path, files) / named)
    assert str(caught.value).startswith(sentence.format(tmp_path))


@pytest.mark.parametrize(
    ("location", "mend"),
    [
        ("s3://bucket/p.csv", "download it first, or name a dataset of the hub as hf://datasets/OWNER/NAME"),
        ("lab/list", "give the path of a prompt file; a dataset of the hub is named hf://datasets/lab/list"),
        ("lists/none.csv", "give the path of a prompt file"),
    ],
)
def test_what_leads_nowhere_is_told_what_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, mend: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        read(location)
    assert str(caught.value) == f"prompt_file {location} does not exist: {mend}"


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("lists/my.list.txt", "my.list"),
        ("lists/p.csv.gz", "p"),
        ("lists/part-*.parquet", "lists"),
        ("lists/**/*.txt", "lists"),
        ("lists", "lists"),
        ("lists/.", "lists"),
        ("*.txt", "here"),
        ("hf://datasets/lab/list@v1", "list"),
    ],
)
def test_a_run_is_called_after_its_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, name: str):
    (tmp_path / "here" / "lists").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert PromptSource(location).name == name
