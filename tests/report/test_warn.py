"""What is said before a run begins: how its prompts were read, and what may disappoint."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from jobs.report.warn import warn
from tests.support import resolved


def test_how_the_prompts_were_read_is_said_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("Prompts;Seed;sampler;score\na red circle;1;DDIM;2\n;2;;\na blue star;3;DDIM;\n")
    warn(resolved("prompt_file=p.csv", "empty_prompts=skip"))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "note: p.csv is read with a semicolon between its cells",
        "note: p.csv: the prompts are its column 'Prompts'",
        "note: p.csv: column 'Seed' sets seed",
        "note: empty prompts are skipped: 1 of 3, first: p.csv line 3",
        "warning: p.csv: every sample is made with the run's own, and metadata alone tells of 'sampler'",
        "warning: metadata has no value for some prompts and is null there: 'score' of 1, first: p.csv line 4",
    ]


@pytest.mark.parametrize(
    ("rows", "options", "first"),
    [
        ("a,blue,1\nb,,1\nc,blue,4\n", [], "1 of 3 prompts have a negative prompt that does nothing, * line 2"),
        ("a,,4\nb,,0\n", ["negative_prompt=blue"], "1 of 2 prompts have a negative prompt that does nothing, * line 3"),
        ("a,,4\nb,blue,\n", ["guidance_scale=1"], "1 of 2 prompts have a negative prompt that does nothing, * line 3"),
        ("a,blue,4\nb,,1\n", [], None),
    ],
)
def test_negative_prompts_without_guidance_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], rows: str, options: list[str], first: str | None
):
    (tmp_path / "p.csv").write_text(f"prompt,negative_prompt,guidance_scale\n{rows}")
    warn(resolved(f"prompt_file={tmp_path}/p.csv", *options))
    said = [line for line in capfd.readouterr().err.splitlines() if "does nothing" in line]
    assert len(said) == (first is not None)
    if first:
        begin, end = first.split("*")
        assert said[0].startswith(f"warning: {begin}") and said[0].endswith(end.strip())


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ("audit_floor=40", "audit_floor=40 does nothing without audit_every"),
        ("audit_floor=40 audit_every=3", None),
        ("model.fuse_loras=true", "model.fuse_loras=true does nothing without model.loras"),
        ("algo.evaluations=60", "algo.evaluations=60 is more than the 50 denoising steps of a sample: each of them *"),
        ("algo.evaluations=50", None),
        ("image_quality=50", "image_quality=50 does nothing with image_format=png, which keeps every pixel as it is"),
        ("image_quality=50 image_format=jpg", None),
        ("video_crf=10", "video_crf=10 does nothing to pictures"),
        ("video_keyframes=3", "video_keyframes=3 does nothing to pictures"),
        ("model=demo-video video_crf=10", None),
        ("model=demo-video image_format=jpg", "image_format=jpg does nothing to clips, which are mp4"),
        ("rank_interface=ib0", "rank_interface=ib0 does nothing where no ranks share samples *"),
        ("rank_ports=29500-29599", "rank_ports=29500-29599 does nothing where no ranks share samples *"),
        ("container.runtime=pyxis", "container.runtime=pyxis does nothing without container.image"),
        ("algo=nocache window_size=3", "window_size=3 does nothing with algo=nocache"),
        ("algo.evaluations=10 window_size=3", "window_size=3 does nothing with algo.evaluations, *"),
        ("algo.weights=chebyshev window_size=3", None),
        ("algo.weights=calibrated algo.w=0.2", "algo.w=0.2 does nothing with calibrated coefficients"),
        ("algo.w=0.2", None),
    ],
)
def test_options_that_do_nothing_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: str, warning: str | None
):
    (tmp_path / "p.txt").write_text("a red circle on a blue background\n")
    warn(resolved(f"prompt_file={tmp_path / 'p.txt'}", *options.split()))
    told = [line for line in capfd.readouterr().err.splitlines() if "does nothing" in line or "more than" in line]
    assert len(told) == (warning is not None)
    assert warning is None or fnmatch(told[0], f"warning: {warning}")


def test_fewer_steps_of_one_prompt_than_are_to_be_evaluated_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "p.csv").write_text("prompt,num_inference_steps\na red circle,\na blue star,9\n")
    warn(resolved(f"prompt_file={tmp_path / 'p.csv'}", "algo.evaluations=14"))
    assert "algo.evaluations=14 is more than the 9 denoising steps of a sample" in capfd.readouterr().err
