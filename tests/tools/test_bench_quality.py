"""The quality benchmark at its smallest: that it measures what it says, not what comes out."""

import json
from pathlib import Path

import numpy as np
import pytest

from tools.bench_quality import __main__ as command
from tools.bench_quality import cases, metrics, report


def test_psnr_and_ssim_of_known_differences():
    black = np.zeros((2, 8, 8, 3), np.uint8)
    assert metrics.psnr(black, black).tolist() == [99.0, 99.0]
    assert metrics.ssim(black, black).tolist() == [1.0, 1.0]
    one_off = black + np.uint8([[[[1]]], [[[255]]]])
    assert metrics.psnr(one_off, black) == pytest.approx([48.13, 0.0], abs=0.01)
    near, far = metrics.ssim(one_off, black)
    assert far < near < 1
    clips = np.stack([black, one_off], axis=1)  # two clips of two frames: like the reference, and the frame above
    assert metrics.ssim(clips, np.stack([black, black], axis=1)) == pytest.approx([(1 + near) / 2, (1 + far) / 2])


@pytest.mark.parametrize(("steps", "counts"), cases.EVALUATIONS.items())
def test_every_evaluation_count_has_a_schedule(steps: int, counts: tuple[int, ...]):
    for count in counts:
        assert len(cases.schedule(steps, count).evaluated_steps(steps)) == count
    assert cases.schedule(50, 14).flex_window == 0.75 and cases.schedule(50, 10).flex_window == 3.0


def test_every_case_has_a_key_of_its_own():
    keys = [case.key for steps in cases.EVALUATIONS for case in cases.all_cases(steps)]
    assert len(set(keys)) == len(keys) > 100


@pytest.mark.parametrize("method", ["hold", "TaylorSeer lite", "FirstBlockCache", "fewer steps"])
def test_a_tiny_run_counts_evaluations_and_is_gone_on_with(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cases, "EVALUATIONS", {10: (7,)})
    monkeypatch.setattr(cases, "THRESHOLDS", (0.5,))
    arguments = ["--models", "demo", "--steps", "10", "--prompts", "2", "--threads", "1", "--out", str(tmp_path)]
    for methods in ("linear", method):
        assert command.main([*arguments, "--methods", methods]) == 0
    measured = capsys.readouterr().err
    assert measured.count("linear") == 1 and method in measured
    rows = json.loads((tmp_path / "quality.json").read_text())["models"]["demo"]["rows"]
    line = next(row for row in rows.values() if row.get("method") == "linear")
    other = next(row for row in rows.values() if row.get("method") == method)
    assert line["evaluations"] == 7
    assert 1 <= other["evaluations"] < 10
    assert all(0 < row["psnr"] < 99 and len(row["psnr_each"]) == 2 for row in (line, other)), "pictures changed"
    page = (tmp_path / "quality.md").read_text()
    assert "## demo, 10 steps, 2 prompts" in page
    assert f"| {method} |" in page or f"- {method}, PSNR at evaluations counted" in page
    assert (tmp_path / "quality-demo-10.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--models", "flux"], "error: --models flux cannot be measured here: choose among demo, demo-video\n"),
        (["--steps", "30"], "error: --steps 30 has no cases: choose among 50, 28\n"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err == sentence


def test_the_best_parity_row_is_that_of_the_highest_mean():
    rows = [
        {"method": method, "evaluations": 10, "psnr": psnr}
        for method, psnr in (("linear", 40.0), ("Chebyshev w=0.5 H=n", 47.0), ("calibrated", 50.0))
    ]
    best = report.best_parity(rows, 10)
    assert best and best["psnr"] == 47.0
    assert report.best_parity(rows, 9) is None
