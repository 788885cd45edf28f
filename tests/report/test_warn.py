"""What is said before a run begins: how its prompts were read, and what may disappoint."""

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
