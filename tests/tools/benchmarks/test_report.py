"""The report's benchmark at tiny sizes: it runs, and reports every field."""

import json
from pathlib import Path

from tools.benchmarks.report import main


def test_a_quick_run_reports_everything(tmp_path: Path) -> None:
    assert main(["--quick", "--out", str(tmp_path), "--scratch", str(tmp_path), "--note", "A test."]) == 0
    cases = json.loads((tmp_path / "report.json").read_text())["cases"]
    assert [one["kind"] for one in cases] == ["png", "mp4"]
    assert all(one["seconds"] > 0 and one["open_seconds"] > 0 and one["bytes"] > 10_000 for one in cases)
    page = (tmp_path / "report.md").read_text()
    assert "A test." in page and all(one["words"] in page for one in cases)
