"""The export's benchmark at tiny sizes: it runs, and reports every field."""

import json
from pathlib import Path

import pytest

from tools.benchmarks.export.__main__ import main


@pytest.mark.slow
def test_a_quick_run_reports_everything(tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    assert main(["--quick", "--out", str(out), "--scratch", str(scratch), "--note", "A test."]) == 0
    assert not list(scratch.iterdir())
    sections = json.loads((out / "export.json").read_text())["sections"]
    (size,) = sections["speed"]["pictures"]
    assert size["copy_seconds"] > 0 and len(size["exports"]) == 3
    assert all(one["ratio"] > 0 and one["peak_mb"] > 10 for one in size["exports"])
    for form in sections["kills"]["forms"]:
        assert form["kills"] >= 1 and form["same"] == form["exports"] >= 1
    page = (out / "export.md").read_text()
    assert "## Speed" in page and "## Kills" in page and page.count("A test.") == 2
