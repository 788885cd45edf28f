"""The runner's benchmark at tiny sizes: it runs, reports every field, and keeps what an earlier run found."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools.benchmarks.common.machine import describe
from tools.benchmarks.runner.__main__ import main
from tools.benchmarks.runner.overlap import picture

CONTEXT = {"command", "note", "date", "seconds", "cores_busy_elsewhere"}


def positive(row: dict[str, Any], *names: str) -> bool:
    return all(row[name] > 0 for name in names)


def test_a_quick_run_reports_everything(tmp_path: Path) -> None:
    """The smoke test: from the command line to the page, all sections."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    assert main(["--quick", "--out", str(out), "--scratch", str(scratch), "--note", "A test."]) == 0
    assert not list(scratch.iterdir())

    report = json.loads((out / "runner.json").read_text())
    assert report["machine"] == describe(scratch)
    sections = report["sections"]
    for section in sections.values():
        assert section.keys() >= CONTEXT
        assert section["command"] == "python -m tools.benchmarks.runner --quick"

    plan = sections["plan"]
    assert [file["format"] for file in plan["files"]] == ["txt", "jsonl", "jsonl"]
    for file in plan["files"]:
        assert positive(file, "plan_seconds", "plan_cpu_seconds", "peak_mb", "walk_seconds", "hand_over_peak_mb")
    assert plan["unfinished"]["done"] == plan["shards"] // 2
    assert positive(plan["unfinished"], "unfinished_seconds", "status_seconds")
    assert positive(plan["commands"], "imports", "refusal", "nothing_to_do", "status")

    assert positive(sections["writer"], "sha256_seconds_per_gb")
    for size in sections["writer"]["pictures"]:
        assert size["bytes"] > size["samples"] * size["picture_bytes"]
        assert [one["name"] for one in size["candidates"]].count("wds.ShardWriter") == 1
        for one in size["candidates"]:
            assert positive(one, "mb_per_second", "ratio", "cpu_seconds_per_gb"), one["name"]
            assert one["name"] != "wds.ShardWriter" or one["ratio"] == 1

    overlap = sections["overlap"]
    assert positive(overlap, "encoders", "batch", "seconds_per_batch")
    assert [row["format"] for row in overlap["formats"]] == ["png", "jpg", "webp"]
    for row in overlap["formats"]:
        assert 0 <= row["waited_share"] < 1 and 0 <= row["idle_share"] < 1
        assert positive(row, "samples", "seconds", "encode_cpu_seconds", "picture_bytes")

    page = (out / "runner.md").read_text()
    for title in ("## Planning", "## Writing", "## What the generator waits for"):
        assert title in page
    assert page.count("A test.") == 3
    (out / "runner.md").unlink()
    assert main(["--render", "--out", str(out)]) == 0
    assert (out / "runner.md").read_text() == page


def test_a_section_alone_leaves_the_others_of_the_same_machine_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "runner.json"
    command = ["writer", "--quick", "--out", str(tmp_path), "--scratch", str(tmp_path)]

    def sections(report: dict[str, Any]) -> dict[str, Any]:
        path.write_text(json.dumps(report))
        assert main(command) == 0
        return json.loads(path.read_text())["sections"]

    earlier = {"command": "python -m tools.benchmarks.runner --quick", "note": "earlier", "seconds": 1.0}
    earlier |= {"date": "2000-01-01", "cores_busy_elsewhere": 0.0}
    overlap = {"generator": "", "seconds_per_batch": 1, "batch": 1, "side": 1, "shards": 1, "shard_size": 1}
    kept = {"overlap": earlier | overlap | {"encoders": 1, "formats": []}}
    machine = describe(tmp_path)
    found = sections({"machine": machine, "sections": kept | {"writer": earlier}})
    assert found["overlap"] == kept["overlap"] and found["writer"]["note"] == ""
    assert sections({"machine": machine | {"cpu": "another"}, "sections": kept}).keys() == {"writer"}
    of_full_size = {"overlap": kept["overlap"] | {"command": "python -m tools.benchmarks.runner"}}
    assert sections({"machine": machine, "sections": of_full_size}).keys() == {"writer"}


def test_an_unknown_section_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["speed", "--out", str(tmp_path / "none")])
    assert refused.value.code == 2
    assert "there is no section 'speed'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_pictures_are_seeded_and_have_something_to_encode() -> None:
    assert (picture(1, 64) == picture(1, 64)).all()
    assert (picture(1, 64) != picture(2, 64)).any()
    assert 20 < picture(1, 64).std() < 100
