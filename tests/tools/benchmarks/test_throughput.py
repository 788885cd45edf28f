"""The benchmark of throughput at tiny sizes: from the command line to the page."""

import json
from pathlib import Path

from tools.benchmarks.throughput.__main__ import main
from tools.benchmarks.throughput.measure import APART, OVERLAPPED, PLAIN


def test_a_quick_run_reports_everything(tmp_path: Path) -> None:
    options = ["num_inference_steps=2", "algo=nocache"]
    assert main(["--quick", "--repeats", "1", "--out", str(tmp_path), *options]) == 0
    results = json.loads((tmp_path / "throughput.json").read_text())
    assert results["repeats"] == 1 and results["command"].endswith("num_inference_steps=2 algo=nocache --quick")
    for case in results["cases"]:
        large = "1024" in case["case"]
        found = {one["name"]: one for one in case["candidates"]}
        assert list(found) == [*([] if large else [PLAIN]), APART, OVERLAPPED]
        for name, one in found.items():
            assert one["rate"] > 0 and one["encode"] > 0 and one["ratios"][name] == 1
            assert list(one["ratios"]) == list(found)
            if name != PLAIN:
                assert min(one["text"], one["denoise"], one["decode"]) > 0 and one["waited"] >= 0
        together = [found[APART][stage] for stage in ("text", "denoise", "decode", "waited")]
        assert sum(together) <= 1, "batch by batch, one stage at a time"
    page = (tmp_path / "throughput.md").read_text()
    assert page.count("| overlapped") == len(results["cases"]) == 4 and "| plain loop" in page
    (tmp_path / "throughput.md").unlink()
    assert main(["--render", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "throughput.md").read_text() == page
