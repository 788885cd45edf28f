"""The soak's judgement, on datasets that are broken on purpose; and its page."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from jobs.execute.worker import generate_shards
from tests.support import SMALL, new_run, write_prompts
from tools.soak.check import Verdict, check
from tools.soak.page import page


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    run = new_run(folder, f"prompt_file={write_prompts(folder / 'prompts.txt', 6)}", *SMALL)
    generate_shards(run, run.unfinished(), device="cpu", log_path="", report=lambda *event: None)
    for leftover in run.directory.work.glob("0*"):
        leftover.unlink()
    return run.directory.path


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "run"))


@pytest.mark.slow
def test_the_same_dataset_is_right(reference: Path, copy: Path) -> None:
    assert check(copy, reference)


def test_each_kind_of_harm_is_seen(reference: Path, copy: Path) -> None:
    first, second = copy / "data" / "00000.tar", copy / "data" / "00001.tar"
    shutil.copy(first, second)  # what the second held is gone, and what the first holds is there twice
    (copy / "work" / "00001.left.jsonl").touch()
    record = json.loads((copy / "done" / "00000.json").read_text())
    (copy / "done" / "00000.json").write_text(json.dumps({**record, "failed": [1]}))
    verdict = check(copy, reference)
    with tarfile.open(first) as archive:
        keys = sorted({name.partition(".")[0] for name in archive.getnames()})
    assert verdict.twice == keys and len(verdict.lost) == len(keys)
    assert verdict.differing == ["00001.tar"]
    assert verdict.given_up == [0]
    assert verdict.leftovers == ["00001.left.jsonl"]
    second.unlink()
    assert check(copy, reference).differing == ["00001.tar"]


def test_the_page_counts_what_was_found() -> None:
    broken = Verdict(lost=["a", "b"], twice=[], differing=["00000.tar"], given_up=[], leftovers=[])
    fault = {"kind": "job requeued", "what": "", "at": 1.0}
    row = {
        "commit": "abc",
        "begun": 0,
        "seconds": 60,
        "commands": 2,
        "released": 1,
        "faults": [fault, fault],
        "hung": False,
    }
    wrong = {name: found for name, found in vars(broken).items() if found}
    text = page([{**row, "wrong": wrong}, {**row, "wrong": {}, "hung": True}], {"cpu": "one", "cores": 2})
    assert "abc (2)" in text
    assert "2 datasets, 2 minutes, 4 faults" in text
    lines = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in text.splitlines() if "|" in line}
    assert {("samples lost", "2"), ("samples there twice", "0"), ("rounds that hung", "1")} <= lines
    assert ("job requeued", "4") in lines
