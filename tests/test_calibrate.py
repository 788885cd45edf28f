"""The calibration tool on the embedded model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.calibrate.__main__ import main, report
from jobs.calibrate.recording import counts_of
from jobs.execute.calibration_choice import FITS, choose
from jobs.report import status
from spectrum import CalibratedRule, Calibration, Fit, candidates
from tests.support import write_prompts


@pytest.mark.slow
def test_writes_a_calibration_that_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture):
    prompts = write_prompts(tmp_path / "prompts.txt", 3)
    out = tmp_path / "calibration.json"
    options = [f"prompt_file={prompts}", "batch_size=2", "device=cpu", "height=32", "width=32"]
    assert main([*options, "--steps", "9", "7", "--evaluations", "6", "--out", str(out)]) == 0
    calibration = Calibration.load(out)
    assert {n: gram.shape for n, gram in calibration.grams.items()} == {7: (2, 7, 7), 9: (2, 9, 9)}
    assert {n: gram.shape for n, gram in calibration.output_grams.items()} == {7: (2, 7, 7), 9: (2, 9, 9)}
    assert calibration.source["trajectories"] == {"7": 3, "9": 3}
    assert calibration.source["model"]["name"] == "demo" and calibration.source["prompts"]["count"] == 3
    assert calibration.source["settings"]["guidance_scale"] == 2.0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == ["7 steps, 6 evaluated", "9 steps, 6 evaluated"]
    assert "(of the published window" in lines[0] and "window" not in lines[1] and lines[-1] == str(out)
    for number, (steps, count) in enumerate([(7, 6), (9, 6)]):
        best, *others = calibration.source["choice"][str(steps)][str(count)]
        assert calibration.fits["features"][steps][count] == (best["shrinkage"], best["order"])
        assert CalibratedRule(calibration).schedule(steps, count) == tuple(best["evaluated"])
        assert 0 <= best["halves"] <= best["of"] == 6  # three samples have three splits
        assert f"which {best['halves']} of 6 halves of the samples find" in lines[number]
        assert len(others) >= len(FITS) and "ways" in lines[number]
        for other in others:
            assert other["compared"] == 3 and best["score"] >= other["score"]
    assert any(len({*map(str, each)}) > 4 for each in calibration.source["choice"]["9"].values())


def test_of_a_single_sample_no_halves_are_told():
    grams = np.eye(6) + 0.99 * (np.ones((6, 6)) - np.eye(6))
    rule = CalibratedRule(Calibration({6: grams[None]}, {}))
    choice = choose(rule, [rule.calibration], 6, 3, lambda *_: [30.0])
    said = {"count": 3, "psnr": choice[0]["psnr"], "ssim": {"mean": 0.9}, "evaluated": 3, "samples": 1}
    assert "halves" not in status._quality("6", said | {"choice": choice})
    (line,) = report(replace(rule.calibration, source={"choice": {"6": {"3": choice}}}))
    assert "halves" not in line and "; 30.0 dB on 1 sample, " in line


def test_schedules_are_chosen_for_as_many_evaluations_as_the_window_makes():
    assert counts_of([50, 10, 1], None) == {50: [14], 10: [7], 1: [1]}
    assert counts_of([50, 10], [3, 10]) == {50: [3, 10], 10: [3, 10]}


def test_what_is_chosen_is_what_samples_prefer():
    """The schedule that expected errors prefer comes second where samples are nearer with another."""
    grams = np.eye(6) + 0.99 * (np.ones((6, 6)) - np.eye(6))
    rule = CalibratedRule(Calibration({6: grams[None]}, {}))
    near = candidates(rule, [rule.calibration] * 2, 6, 3)
    assert len(near) > 1
    first = next(iter(near))

    tries: list[tuple[str, int, int, Fit]] = []

    def compare(tried: CalibratedRule, kind: str, number: int, every: int) -> list[float]:
        schedule = tried.schedule(6, 3)
        fitted = tried.suited_to(6, schedule)
        tries.append((kind, number, every, Fit(fitted.shrinkage, fitted.order)))
        if kind == "fit":
            assert schedule != first
            return [34.0, 34.5, 90.0] if fitted.order == 2 else [36.0, 36.0 + fitted.shrinkage, 37.0]
        return [30.0, 40.0, 90.0] if schedule == first else [35.0, 36.0, 37.0]

    best, *others = choose(rule, [rule.calibration] * 2, 6, 3, compare)
    assert tries == [
        *(("schedule", number, len(near), Fit()) for number in range(len(near))),
        *(("fit", number, len(FITS), fit) for number, fit in enumerate(FITS)),
    ]
    assert tuple(best["evaluated"]) != first and best["score"] == 36.05
    assert Fit(best["shrinkage"], best["order"]) == Fit(0.1)
    assert others[-1]["order"] == 2 and others[-1]["score"] == 34.25
    (usual,) = [one for one in others if tuple(one["evaluated"]) == first]
    assert usual["score"] == 35.0 and Fit(usual["shrinkage"], usual["order"]) == Fit()
    assert usual["psnr"] == {
        "mean": pytest.approx(160 / 3),
        "worst": 30.0,
        "standard_error": pytest.approx(18.5592, abs=1e-3),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=none"], "model=none is not known"),
        (["prompt_file=/none.txt"], "/none.txt"),
        (["height=33"], "height=33 does not fit"),
        (["--steps", "9", "7", "--evaluations", "8"], "--evaluations 8 is not from 1 to 7"),
        (["dry_run=true"], "dry_run=true is for jobs.generate: leave it out"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path / "calibration.json")])
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", "is a folder: name a file in it, like"),
        ("no folder/calibration.json", "is in no folder that is there: make"),
        ("closed/calibration.json", "name a file in a folder that you may write to"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_a_model_is_loaded(
    place: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "closed")  # root may write anywhere
    monkeypatch.setattr("jobs.calibrate.__main__.calibrate", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / place)])
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
