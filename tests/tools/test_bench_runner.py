"""The benchmark at tiny sizes: it runs, reports every field, and keeps what an earlier run found."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.bench_runner.__main__ import main
from tools.bench_runner.machine import describe, peak_mb, watched
from tools.bench_runner.overlap import picture

CONTEXT = {"command", "note", "date", "seconds", "cores_busy_elsewhere"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole --quick report."""
    folder = tmp_path_factory.mktemp("benchmarks")
    scratch = tmp_path_factory.mktemp("scratch")
    assert main(["--quick", "--out", str(folder), "--scratch", str(scratch), "--note", "A test."]) == 0
    assert not list(scratch.iterdir())
    return folder


@pytest.fixture
def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "runner.json").read_text())


def positive(row: dict[str, Any], *names: str) -> bool:
    return all(row[name] > 0 for name in names)


def test_the_machine_is_named(report, tmp_path) -> None:
    assert report["machine"] == describe(tmp_path)
    assert report["machine"]["cpu"] and report["machine"]["cores"] > 0 and report["machine"]["memory_gib"] > 0
    assert " on " in report["machine"]["file_system"]
    for section in report["sections"].values():
        assert section.keys() >= CONTEXT
        assert section["command"] == "python -m tools.bench_runner --quick"


def test_planning_is_reported(report) -> None:
    plan = report["sections"]["plan"]
    assert [file["format"] for file in plan["files"]] == ["txt", "jsonl", "jsonl"]
    for file in plan["files"]:
        assert positive(file, "plan_seconds", "plan_cpu_seconds", "peak_mb", "walk_seconds", "hand_over_peak_mb")
    assert plan["unfinished"]["done"] == plan["shards"] // 2
    assert positive(plan["unfinished"], "unfinished_seconds", "status_seconds")
    assert positive(plan["commands"], "imports", "refusal", "nothing_to_do", "status")


def test_writing_is_reported(report) -> None:
    assert positive(report["sections"]["writer"], "sha256_seconds_per_gb")
    for size in report["sections"]["writer"]["pictures"]:
        assert size["bytes"] > size["samples"] * size["picture_bytes"]
        assert [one["name"] for one in size["candidates"]].count("wds.ShardWriter") == 1
        for one in size["candidates"]:
            assert positive(one, "mb_per_second", "ratio", "cpu_seconds_per_gb"), one["name"]
            assert one["name"] != "wds.ShardWriter" or one["ratio"] == 1


def test_overlap_is_reported(report) -> None:
    overlap = report["sections"]["overlap"]
    assert positive(overlap, "encoders", "batch", "seconds_per_batch")
    assert [row["format"] for row in overlap["formats"]] == ["png", "jpg", "webp"]
    for row in overlap["formats"]:
        assert 0 <= row["waited_share"] < 1 and 0 <= row["idle_share"] < 1
        assert positive(row, "samples", "seconds", "encode_cpu_seconds", "picture_bytes")


def test_the_page_has_every_section_and_its_circumstances(out) -> None:
    page = (out / "runner.md").read_text()
    for title in ("## Planning", "## Writing", "## What the generator waits for"):
        assert title in page
    assert page.count("A test.") == 3


def test_a_section_alone_leaves_the_others_in_the_report(report, tmp_path) -> None:
    (tmp_path / "runner.json").write_text(json.dumps(report))
    assert main(["writer", "--quick", "--out", str(tmp_path)]) == 0
    before, after = report["sections"], json.loads((tmp_path / "runner.json").read_text())["sections"]
    assert (after["plan"], after["overlap"]) == (before["plan"], before["overlap"])
    assert after["writer"] != before["writer"]


def test_sizes_and_machines_are_not_mixed_in_one_report(report, tmp_path) -> None:
    report["machine"]["cpu"] = "another"
    (tmp_path / "runner.json").write_text(json.dumps(report))
    assert main(["writer", "--quick", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "runner.json").read_text())["sections"].keys() == {"writer"}


def test_an_unknown_section_is_refused(capsys, tmp_path) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["speed", "--out", str(tmp_path / "none")])
    assert refused.value.code == 2
    assert "speed" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_pictures_are_seeded_and_have_something_to_encode() -> None:
    assert (picture(1, 64) == picture(1, 64)).all()
    assert (picture(1, 64) != picture(2, 64)).any()
    assert 20 < picture(1, 64).std() < 100


def test_time_and_memory_are_measured() -> None:
    section: dict[str, Any] = {}
    with watched(section):
        held = bytearray(50_000_000)
        held[::4096] = b"x" * len(held[::4096])
    assert peak_mb() > 50
    assert section["cores_busy_elsewhere"] >= 0
