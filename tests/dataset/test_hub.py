"""Prompts from the hub: the real client and the real library, on a hub of our own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.base.errors import BadInput
from jobs.dataset.prompt_files import read_prompts
from jobs.dataset.source import PromptSource
from tests.fake_hub import FakeHub
from tests.support import PROJECT, generate

LIST = "hf://datasets/lab/list"
# Reads sources given as json, and each once more as a worker does, from what the table is pickled as.
READ = """
import json, pickle, sys
from jobs.base.errors import BadInput
from jobs.dataset.prompt_files import read_prompts
from jobs.dataset.source import PromptSource
said = []
for source in json.loads(sys.argv[1]):
    try:
        table = read_prompts(PromptSource(**source))
        assert pickle.loads(pickle.dumps(table)) == table
        said += [[table.texts, table.settings, table.metadata, table.notes, table.source.commit, table.where(0)]]
    except BadInput as error:
        said += [str(error)]
print(json.dumps(said))
"""
Read = Callable[..., Any]


def write_shard(folder: Path, shard: int, text: str) -> None:
    picture = {"bytes": b"\x89PNG", "path": "0.png"}
    table = pa.table({"TEXT": [text], "seed": [shard], "image": [picture], "score": [shard / 2]})
    pq.write_table(table, folder / "data" / f"train-0000{shard}-of-00002.parquet")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    """A dataset of two splits in shards, with pictures in a column, and pictures beside it that are not fetched."""
    folder = tmp_path / "list"
    (folder / "data").mkdir(parents=True)
    for shard, text in enumerate(("a red circle", "a blue star")):
        write_shard(folder, shard, text)
    pq.write_table(pa.table({"TEXT": ["a pink cross"]}), folder / "data" / "test-00000-of-00001.parquet")
    (folder / "README.md").write_text("# A list\n")
    (folder / "cat.png").write_bytes(b"png")
    hub = FakeHub("lab/list", folder)
    yield hub
    hub.close()


@pytest.fixture
def read(hub: FakeHub, tmp_path: Path) -> Read:
    """Reads sources in a process of their own: what is said of each, or of the one that is named by keywords."""

    def run(*sources: dict[str, str], environment: dict[str, str] | None = None, **source: str) -> Any:
        given = [{"location": LIST} | one for one in sources or (source,)]
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", READ, json.dumps(given)],
            cwd=PROJECT,
            env={**os.environ, **settings, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        return said if sources else said[0]

    return run


@pytest.mark.slow
def test_a_dataset_is_read_pinned_and_found_in_the_cache(hub: FakeHub, read: Read, tmp_path: Path):
    first = read()
    assert first == [
        ["a red circle", "a blue star"],
        {"seed": [0, 1]},
        {"score": [0.0, 0.5]},
        [f"{LIST}: the prompts are its column 'TEXT'", f"{LIST}: what holds bytes is dropped: 'image'"],
        "c" * 40,
        f"{LIST} row 1",
    ]
    assert not [path for _, path, _ in hub.requests if "cat.png" in path]
    assert read(environment={"HF_HUB_OFFLINE": "1"}) == first

    # The branch moves on: who has the commit reads that and asks nobody, who has not reads the new one.
    hub.commit = "d" * 40
    write_shard(hub.folder, 0, "a green cross")
    asked = len(hub.requests)
    assert read(commit="c" * 40) == first
    assert len(hub.requests) == asked
    new, named = read({}, {"location": f"{LIST}@main"})
    assert new[0] == ["a green cross", "a blue star"] and named[4] == "d" * 40


@pytest.mark.slow
def test_a_run_is_made_of_it(hub: FakeHub, tmp_path: Path):
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    done = generate(
        f"prompt_file={LIST}@main", f"output_base_path={tmp_path}", "num_inference_steps=8", "shard_size=1", **settings
    )
    assert done.returncode == 0, done.stderr
    assert f"note: {LIST}@main: the prompts are its column 'TEXT'\n" in done.stderr
    made = sorted(path.name for path in (tmp_path / "demo-list" / "data").iterdir())
    assert made == ["00000.tar", "00001.tar"]


CONFIGURATIONS = """---
configs:
- config_name: short
  data_files: [{split: train, path: data/test-*.parquet}]
- config_name: long
  data_files: [{split: train, path: data/train-*.parquet}, {split: test, path: data/test-*.parquet}]
---
"""
FORMATS = [
    pytest.param({"p.csv": "prompt,seed\na,1\n"}, ["a"], id="csv"),
    pytest.param({"p.jsonl": '{"prompt": "a", "tags": ["x"]}\n'}, ["a"], id="jsonl"),
    pytest.param({"p.txt": "a\nb\n"}, ["a", "b"], id="txt"),
]


@pytest.mark.slow
def test_splits_and_configurations_are_chosen_by_name(hub: FakeHub, read: Read):
    found, missing = read({"split": "test"}, {"split": "validation"})
    assert found[0] == ["a pink cross"]
    assert missing == (
        f"prompt_file {LIST} has no validation among its splits train, test: set prompt_split=one of them"
    )
    (hub.folder / "README.md").write_text(CONFIGURATIONS)
    hub.commit = "d" * 40
    unnamed, *found = read({}, {"split": "long/test"}, {"split": "short/train"}, {"split": "short/"})
    assert unnamed == (
        f"prompt_file {LIST} has several configurations short, long: set prompt_split=CONFIGURATION/SPLIT"
    )
    assert [texts for texts, *_ in found] == [["a pink cross"]] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("files", "texts"), FORMATS)
def test_datasets_of_text(hub: FakeHub, read: Read, files: dict[str, str], texts: list[str], tmp_path: Path):
    hub.folder = tmp_path / "text"
    hub.folder.mkdir()
    for name, content in files.items():
        (hub.folder / name).write_text(content)
    assert read()[0] == texts


CLASSES = """---
dataset_info:
  features:
  - {name: prompt, dtype: string}
  - {name: kind, dtype: {class_label: {names: {'0': cat, '1': dog}}}}
---
"""


@pytest.mark.slow
def test_classes_are_known_by_their_names(hub: FakeHub, read: Read, tmp_path: Path):
    hub.folder = tmp_path / "classes"
    hub.folder.mkdir()
    (hub.folder / "README.md").write_text(CLASSES)
    (hub.folder / "p.csv").write_text("prompt,kind\na,1\nb,0\nc,\n")
    assert read()[2] == {"kind": ["dog", "cat", ""]}


@pytest.mark.slow
def test_what_the_hub_refuses_is_said_in_one_sentence(hub: FakeHub, read: Read):
    gone = (
        "prompt_file hf://datasets/lab/none is not on the hub, or not for you to see: check the name, or set HF_TOKEN"
    )
    assert read(location="hf://datasets/lab/none") == gone
    assert read(environment={"HF_HUB_OFFLINE": "1"}) == (
        f"prompt_file {LIST} is not in the hub's cache, and the hub cannot be reached: run this where it can, once"
    )
    hub.gate = (401, "GatedRepo")
    licence = "has a licence to accept at https://huggingface.co/datasets/lab/list: do so, and set HF_TOKEN"
    assert read() == f"prompt_file {LIST} {licence}"


@pytest.mark.parametrize("location", ["hf://lab/list", "hf://datasets/list", "hf://datasets/lab/list/data", "hf://"])
def test_what_names_no_dataset_is_refused(location: str):
    with pytest.raises(BadInput, match=f"^prompt_file {location} names no dataset of the hub: write hf://datasets/OWN"):
        read_prompts(PromptSource(location))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInput, match=r"library datasets, which is not installed: run pip install datasets$"):
        read_prompts(PromptSource(LIST))
