"""The quality benchmark at its smallest: that it measures what it says, not what comes out."""

import json
from pathlib import Path

import numpy as np
import pytest

from spectrum import CalibratedRule, Calibration
from tools.benchmarks.quality import __main__ as command
from tools.benchmarks.quality import (
    agreement,
    cases,
    drawn,
    draws,
    foretold,
    metrics,
    published,
    recorded,
    report,
    sampling,
    tails,
)
from tools.benchmarks.quality.calibrated import calibrated_cases
from tools.benchmarks.quality.peers import search


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


def test_ssim_is_that_of_scikit_image():
    y, x = np.mgrid[0:20, 0:24]
    smooth = np.stack([x * 10 % 256, y * 12 % 256, x * y % 256], axis=-1).astype(np.uint8)
    given = metrics.ssim(smooth[None], (smooth // 2 + 30)[None])
    assert given == pytest.approx([0.7794443055219441], abs=1e-12)  # structural_similarity(..., channel_axis=-1)


def test_rank_correlation_is_that_of_scipy():
    assert foretold.rank_correlation([1, 2, 2, 5, 9, 0], [3, 1, 4, 4, 9, 2.5]) == pytest.approx(0.7205882352941176)


@pytest.mark.parametrize(("steps", "counts"), cases.EVALUATIONS.items())
def test_every_evaluation_count_has_a_schedule(steps: int, counts: tuple[int, ...]):
    for count in counts:
        assert len(cases.schedule(steps, count).evaluated_steps(steps)) == count
    assert cases.schedule(50, 14).flex_window == 0.75 and cases.schedule(50, 10).flex_window == 3.0


def test_every_case_has_a_key_of_its_own():
    keys = [
        case.key
        for steps in cases.EVALUATIONS
        for case in [*cases.all_cases(steps), *published.published_cases("demo", steps, Path("."))]
    ]
    assert len(set(keys)) == len(keys) > 100


def test_a_tiny_run_measures_what_is_missing_and_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The smoke test: from the command line to page and figure, every method, in two calls."""
    monkeypatch.setattr(cases, "EVALUATIONS", {8: (6,)})
    monkeypatch.setattr(cases, "THRESHOLDS", (0.5,))
    monkeypatch.setattr(cases, "SHARES", (0.5,))
    monkeypatch.setattr(recorded, "COUNT", 2)
    monkeypatch.setattr(published, "SCORED", 1)
    monkeypatch.setattr(search, "TRIALS", 2)
    arguments = ["--models", "demo", "--steps", "8", "--prompts", "2", "--threads", "1", "--out", str(tmp_path)]
    assert command.main([*arguments, "--methods", "linear"]) == 0
    assert command.main(arguments) == 0
    assert capsys.readouterr().err.count("linear") == 1, "measured again"
    rows = json.loads((tmp_path / "quality.json").read_text())["models"]["demo"]["rows"]
    measured = {row["method"]: row for row in rows.values() if "method" in row}
    every = [*cases.all_cases(8), *published.published_cases("demo", 8, tmp_path)]
    assert measured.keys() == {case.method for case in every}
    for method, row in measured.items():
        exact = method not in ("TaylorSeer", "TaylorSeer lite", "FirstBlockCache")
        assert row["evaluations"] == 6 if exact else 1 <= row["evaluations"] < 8, method
        assert 0 < row["psnr"] < 99 and len(row["psnr_each"]) == 2, f"{method} changed nothing"
        assert row["accuracy"] == np.mean(row["right_each"]), method
    page = (tmp_path / "quality.md").read_text()
    assert "## demo, 8 steps, 2 prompts" in page
    assert all(f"| {method} " in page or f"- {method}, PSNR at evaluations counted" in page for method in measured)
    assert (tmp_path / "quality-demo-8.png").stat().st_size > 10_000
    (tmp_path / "quality.md").unlink()
    assert command.main([*arguments, "--render"]) == 0
    assert (tmp_path / "quality.md").read_text() == page


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--models", "flux"],
            "error: there is no model 'flux': choose among {models}\n",
        ),
        (["--steps", "30"], "error: there is no case with --steps '30': choose among 50, 28\n"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(sentence.format(models=", ".join(sampling.MODELS)))


def test_the_best_parity_row_is_that_of_the_highest_mean():
    rows = [
        {"method": method, "evaluations": 10, "psnr": psnr}
        for method, psnr in (("linear", 40.0), ("Chebyshev w=0.5 H=n", 47.0), ("calibrated", 50.0))
    ]
    best = report.best_parity(rows, 10)
    assert best and best["psnr"] == 47.0
    assert report.best_parity(rows, 9) is None


def test_tails_count_where_ours_is_higher_and_whether_forked_samples_are_right():
    even = np.linspace(40, 44, 10)
    ours = {"method": "ours", "evaluations": 8, "psnr": 40.0, "psnr_each": [20, *even], "right_each": [0, 0, *[1] * 9]}
    other = {"method": "other", "evaluations": 8, "psnr": 38.0, "psnr_each": [25, *even - 9]}
    page = tails.tails([ours, other], [8, 9], ("ours",), {8: other, 9: None}.get)
    assert "of 1 counts, `ours` has the higher 5th percentile at 1 and the higher worst sample at 0." in page
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()[2:4]]
    assert cells[0] == ["8", "ours", "40.0", "30.0", "20.0", "1", "0 of 1", "9 of 10"]
    assert cells[1] == ["8", "other", "38.0", "28.0", "25.0", "0", "", ""]


# Expected errors against measured quality


def features(steps: int = 12) -> np.ndarray:
    """Random walks (samples, steps, size), of which the Gram matrix below is exact."""
    return np.random.default_rng(0).standard_normal((8, steps, 16)).cumsum(axis=1) + 5


def rule(steps: int = 12) -> CalibratedRule:
    walks = features(steps)
    return CalibratedRule(Calibration({steps: (walks @ walks.mT).mean(axis=0)[None]}, {}))


def test_products_of_errors_are_those_of_the_forecasts():
    evaluated = (0, 2, 3, 7)
    walks = features()
    errors = np.zeros_like(walks)
    for step in set(range(12)) - set(evaluated):
        before = [known for known in evaluated if known < step]
        coefficients = rule().coefficients(before, step, 12)
        errors[:, step] = walks[:, step] - np.einsum("k,bkf->bf", coefficients, walks[:, before])
    size = np.sqrt((walks**2).sum(axis=2).mean(axis=0))
    expected = np.einsum("bif,bjf->ij", errors, errors) / len(walks) / np.outer(size, size)
    products = foretold.error_products(rule(), 12, evaluated)
    np.testing.assert_allclose(products, expected, atol=1e-9)
    assert foretold.COSTS[foretold.CHOSEN](products, np.ones(12)) == pytest.approx(rule().expected_error(12, evaluated))


def test_schedules_to_compare_have_the_counts_asked_for():
    found = foretold.schedules(rule(50), 50, (8, 10))
    assert {len(evaluated) for evaluated in found} == {8, 10}
    assert sorted(found.values()) == ["published"] * 2 + ["random"] * 12 + ["searched"] * 2
    assert all(evaluated[0] == 0 and sorted({*evaluated}) == [*evaluated] for evaluated in found)


def test_correlations_are_over_all_schedules_and_within_counts():
    rows = [
        {"evaluated": [0] * count, "psnr": psnr, "costs": {"cost": cost}}
        for count, psnr, cost in ((8, 30, 9.0), (8, 31, 8.0), (8, 32, 7.0), (9, 40, 1.0), (9, 41, 2.0), (9, 42, 3.0))
    ]
    everywhere, within = foretold.correlations(rows, "cost")
    assert within == pytest.approx(0) and -1 < everywhere < -0.5


def test_a_tiny_agreement_compares_schedules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The smoke test of its command: searched, published and random schedules of one count."""
    monkeypatch.setattr(agreement, "COUNTS", {28: (6,)})
    monkeypatch.setattr(agreement, "PROMPTS", 2)
    monkeypatch.setattr(foretold, "RANDOM", 1)
    arguments = ["--models", "demo", "--threads", "1", "--out", str(tmp_path)]
    assert agreement.main(arguments) == 0
    rows = json.loads((tmp_path / "quality-agreement.json").read_text())["demo 28"]
    assert sorted(row["kind"] for row in rows) == ["published", "random", "searched"]
    for row in rows:
        assert len(row["evaluated"]) == 6 and 0 < row["psnr"] < 99
        assert row["costs"].keys() == foretold.COSTS.keys() and all(cost > 0 for cost in row["costs"].values())
    page = (tmp_path / "quality-agreement.md").read_text()
    assert f"| {foretold.CHOSEN} (used) " in page
    assert (tmp_path / "quality-agreement.png").stat().st_size > 5_000
    assert agreement.main([*arguments, "--render"]) == 0
    assert (tmp_path / "quality-agreement.md").read_text() == page


@pytest.mark.parametrize("name", ["demo", "demo-video", "demo-unet"])
def test_choices_are_made_on_other_sentences_and_other_noise(name: str):
    one = sampling.subject(name, 64)
    other = sampling.others(one, 16)
    assert len(set(other.captions())) == 16 and not set(other.captions()) & set(one.captions())
    assert other.seed != one.seed


@pytest.mark.parametrize("name", [name for name, model in sampling.MODELS.items() if model.fits])
def test_embedded_models_have_calibrated_cases(name: str, tmp_path: Path):
    assert [case.method for case in calibrated_cases(name, 28, tmp_path)] == ["calibrated", "searched"] * 5
    assert calibrated_cases(name, 30, tmp_path) == []


# Draws of calibrations


def test_draws_are_chosen_by_other_prompts_and_summed_up_by_size():
    one, two = (0, 1, 4), (0, 2, 4)
    quality = {one: np.linspace(40, 50, 21), two: np.linspace(30, 60, 21)}
    others = {one: np.full(12, 45.0), two: np.full(12, 44.0)}
    some = [drawn.Draw(16, 0, {two: 5, one: 3}), drawn.Draw(16, 1, {one: 8}), drawn.Draw(32, 0, {two: 0})]
    assert [drawn.choose(draw, others) for draw in some] == [one, one, two]
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in drawn.summary(quality, others, some).split("\n")
    ]
    assert cells[2] == ["16", "2", "2", "45.0 to 45.0", "31.5 to 40.5", "30.0 to 40.0"]
    assert cells[3] == ["16, compared", "2", "1", "45.0 to 45.0", "40.5 to 40.5", "40.0 to 40.0"]
    assert cells[4][:3] == ["32", "1", "1"] and len(cells) == 5


@pytest.mark.slow
def test_a_few_draws_are_recorded_once_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The smoke test of its command, in two calls."""
    monkeypatch.setattr(draws, "PROMPTS", 2)
    monkeypatch.setattr(draws, "OTHERS", 2)
    monkeypatch.setattr(draws, "HALVED", 2)
    sizes = ["--pool", "4", "--sizes", "2,4", "--draws", "1", "--recorded", str(tmp_path / "recorded")]
    arguments = ["--models", "demo", "--steps", "8", "--counts", "4", "--threads", "1", "--out", str(tmp_path), *sizes]
    assert draws.main([*arguments, "--time-limit", "0"]) == 0
    (pool, benchmark) = sorted((tmp_path / "recorded" / "demo-8").glob("*/*.npz"), reverse=True)
    made = pool.stat().st_mtime_ns, benchmark.stat().st_mtime_ns
    assert draws.main(arguments) == 0
    assert (pool.stat().st_mtime_ns, benchmark.stat().st_mtime_ns) == made
    entry = json.loads((tmp_path / "quality-draws.json").read_text())["demo 8"]
    (two, four) = entry["draws"]["4"]
    assert (two[0], four[0], four[2][0][1]) == (2, 4, 0) and sum(halves for _, halves in two[2]) == 4
    assert {tuple(steps) for draw in (two, four) for steps, _ in draw[2]} == {
        tuple(map(int, key.split(","))) for key in entry["schedules"]
    }
    assert all(0 < psnr < 99 for row in entry["schedules"].values() for psnr in row["quality"] + row["others"])
    page = (tmp_path / "quality-draws.md").read_text()
    assert "## demo 8 steps, 4 evaluated, a pool of 4" in page and " 4 |     1 |         1 |" in page
