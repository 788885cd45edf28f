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

from tests.fake_hub import FakeHub
from tests.support import PROJECT

LIST = "hf://datasets/lab/list"
# Reads a source given as json, and then once more as a worker does, from what the table is pickled as.
READ = """
import json, pickle, sys
from jobs.base.errors import BadInput
from jobs.dataset.prompt_files import read_prompts
from jobs.dataset.source import PromptSource
try:
    table = read_prompts(PromptSource(**json.loads(sys.argv[1])))
    assert pickle.loads(pickle.dumps(table)) == table
    said = [table.texts, table.settings, table.metadata, table.notes, table.source.commit, table.where(0)]
except BadInput as error:
    said = str(error)
print(json.dumps(said))
"""
Read = Callable[..., Any]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    """A dataset of two splits in shards, with pictures in a column, and pictures beside it that are not fetched."""
    folder = tmp_path / "list"
    (folder / "data").mkdir(parents=True)
    picture = {"bytes": b"\x89PNG", "path": "0.png"}
    for shard, text in enumerate(("a red circle", "a blue star")):
        table = pa.table({"TEXT": [text], "seed": [shard], "image": [picture], "score": [shard / 2]})
        pq.write_table(table, folder / "data" / f"train-0000{shard}-of-00002.parquet")
    pq.write_table(pa.table({"TEXT": ["a pink cross"]}), folder / "data" / "test-00000-of-00001.parquet")
    (folder / "README.md").write_text("# A list\n")
    (folder / "cat.png").write_bytes(b"png")
    hub = FakeHub("lab/list", folder)
    yield hub
    hub.close()


@pytest.fixture
def read(hub: FakeHub, tmp_path: Path) -> Read:
    def run(location: str = LIST, environment: dict[str, str] | None = None, **source: Any) -> Any:
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", READ, json.dumps({"location": location, **source})],
            cwd=PROJECT,
            env={**os.environ, **settings, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_dataset_is_read_pinned_and_found_in_the_cache(hub: FakeHub, read: Read):
    first = read()
    assert first == [
        ["a red circle", "a blue star"],
        {"seed": [0, 1]},
        {"score": [0.0, 0.5]},
        [f"{LIST}: the prompts are its column 'TEXT'", f"{LIST}: 'image' holds bytes and is dropped"],
        "c" * 40,
        f"{LIST} row 1",
    ]
    assert not [path for _, path, _ in hub.requests if "cat.png" in path]
    assert read(environment={"HF_HUB_OFFLINE": "1"}) == first
