"""The calibration tool on the embedded model."""

from pathlib import Path

import pytest

from jobs.calibrate import main
from spectrum import CalibratedRule, Calibration
from tests.support import write_prompts


def test_writes_a_calibration_that_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture):
    prompts = write_prompts(tmp_path / "prompts.txt", 3)
    out = tmp_path / "calibration.json"
    options = [f"prompt_file={prompts}", "batch_size=2", "device=cpu", "height=32", "width=32"]
    assert main([*options, "--steps", "9", "7", "--out", str(out)]) == 0
    calibration = Calibration.load(out)
    assert {n: gram.shape for n, gram in calibration.grams.items()} == {7: (2, 7, 7), 9: (2, 9, 9)}
    assert {n: gram.shape for n, gram in calibration.output_grams.items()} == {7: (2, 7, 7), 9: (2, 9, 9)}
    assert calibration.source["trajectories"] == {"7": 3, "9": 3}
    assert calibration.source["model"]["name"] == "demo" and calibration.source["prompts"]["count"] == 3
    assert calibration.source["settings"]["guidance_scale"] == 2.0
    assert len(CalibratedRule(calibration).schedule(9, 4)) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("7 steps, 6 evaluated: expected squared errors") and lines[-1] == str(out)
    sure = calibration.source["halves"]["7"]
    assert 0 <= sure["found"] <= sure["of"] == 6  # three samples have three splits
    assert lines[0].endswith(f", which {sure['found']} of 6 halves of the samples find")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=none"], "model=none is not known"),
        (["prompt_file=/none.txt"], "/none.txt"),
        (["height=33"], "height=33 does not fit"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path / "calibration.json")])
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
