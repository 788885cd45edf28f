"""Calibrated coefficients and searched schedules: against explicit features, brute force and a written-down file."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum import (
    CalibratedRule,
    Calibration,
    ChebyshevRule,
    Fit,
    SpectrumConfig,
    SpectrumError,
    StepPlan,
    candidates,
)
from spectrum.search import ScheduleSearch

N = 12
LINE = ChebyshevRule(w=0, lam=0.1, m=4)


def trajectories(n: int = N, count: int = 20, size: int = 30) -> np.ndarray:
    """Features (count, n, size) that move along smooth curves, faster at first, with some noise."""
    generator = np.random.default_rng(0)
    time = np.sqrt(np.linspace(0, 1, n))
    curves = np.stack([np.ones(n), np.cos(2 * time), np.sin(3 * time), time**3])
    noise = 0.01 * generator.standard_normal((count, n, size))
    return np.einsum("bfk,kn->bnf", generator.standard_normal((count, size, 4)), curves) + noise


def calibration(features: np.ndarray, **source: Any) -> Calibration:
    """One branch, and another of twice the size."""
    gram = (features @ features.mT).mean(axis=0)
    return Calibration({features.shape[1]: np.stack([gram, 4 * gram])}, {"model": "drawn", **source})


FEATURES = trajectories()
CALIBRATION = calibration(FEATURES)


# Coefficients


def test_with_little_shrinkage_they_are_the_least_squares_coefficients_of_features_and_lines():
    before, step = (0, 1, 3, 6), 9
    features = FEATURES / np.sqrt((FEATURES**2).sum(axis=2).mean())
    time = np.linspace(-1, 1, N)
    lines = np.sqrt(len(FEATURES)) * np.stack([np.ones(N), time])  # one of each a trajectory, as large as its features
    samples = np.concatenate([features.transpose(1, 0, 2).reshape(N, -1), lines.T], axis=1)
    expected = np.linalg.lstsq(samples[list(before)].T, samples[step], rcond=None)[0]
    np.testing.assert_allclose(CalibratedRule(CALIBRATION, 1e-12).coefficients(before, step, N), expected, rtol=1e-5)


def test_with_much_shrinkage_they_extrapolate_the_last_two():
    coefficients = CalibratedRule(CALIBRATION, shrinkage=1e9).coefficients((0, 1, 3, 6), 9, N)
    np.testing.assert_allclose(coefficients, [0, 0, -1, 2], atol=1e-6)


@pytest.mark.parametrize("before", [(0, 1, 3, 6), (0, 3), (0,)], ids=len)
def test_with_much_shrinkage_towards_parabolas_they_extrapolate_the_last_three(before):
    coefficients = CalibratedRule(CALIBRATION, shrinkage=1e9, order=2).coefficients(before, 9, N)
    for degree in range(min(len(before), 3)):
        assert coefficients @ np.power(before, degree) == pytest.approx(9**degree, abs=1e-4)
    assert np.count_nonzero(np.abs(coefficients) > 1e-6) == min(len(before), 3)


def test_they_hardly_change_a_line():
    before = (0, 1, 3, 6, 8)
    coefficients = CalibratedRule(CALIBRATION).coefficients(before, 10, N)
    assert coefficients.sum() == pytest.approx(1, abs=0.01)
    assert coefficients @ before == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("shrinkage", [1e-6, 1e-3, 1.0])
def test_they_minimise_the_penalised_error(shrinkage, order):
    before, step = [0, 2, 5], 7
    time = np.linspace(-1, 1, N)
    expected = CALIBRATION.gram(N) + 1 + np.outer(time, time)
    # The parabola through 0, 2 and 5 at 7.
    prior = LINE.coefficients(before, step, N) if order == 1 else np.array([1.0, -7 / 3, 7 / 3])

    def objective(coefficients):
        row = np.zeros(N)
        row[step], row[before] = 1, -coefficients
        return row @ expected @ row + shrinkage * np.sum((coefficients - prior) ** 2)

    best = CalibratedRule(CALIBRATION, shrinkage, order=order).coefficients(before, step, N)
    generator = np.random.default_rng(1)
    assert all(objective(best) < objective(best + 1e-3 * generator.standard_normal(3)) for _ in range(50))


def test_several_steps_at_once_are_the_steps_one_by_one():
    rule = CalibratedRule(CALIBRATION)
    together = rule.coefficients_of_steps((0, 1, 4), [5, 8, 11], N)
    np.testing.assert_allclose(together, [rule.coefficients((0, 1, 4), step, N) for step in (5, 8, 11)], rtol=1e-12)


def test_branches_count_alike_whatever_their_size():
    gram = CALIBRATION.grams[N][0]
    assert np.trace(CALIBRATION.gram(N)) == pytest.approx(N)
    np.testing.assert_allclose(CALIBRATION.gram(N), gram * N / np.trace(gram))


def test_a_plan_takes_rule_and_schedule():
    rule = CalibratedRule(CALIBRATION)
    plan = StepPlan.build(N, SpectrumConfig(), rule, rule.schedule(N, 5))
    assert plan.evaluated == rule.schedule(N, 5) and len(plan.evaluated) == 5
    assert (
        plan.digest() != StepPlan.build(N, SpectrumConfig(), CalibratedRule(CALIBRATION, 0.1), plan.evaluated).digest()
    )
    other = CalibratedRule(calibration(FEATURES, revision="other"))
    assert plan.digest() != StepPlan.build(N, SpectrumConfig(), other, plan.evaluated).digest()


@pytest.mark.parametrize("evaluated", [(), (1, 2), (0, 3, 2), (0, 2, 2), (0, N)])
def test_a_plan_refuses_an_impossible_schedule(evaluated):
    with pytest.raises(SpectrumError, match="must ascend from 0 to below 12"):
        StepPlan.build(N, SpectrumConfig(), None, evaluated)


# Expected errors and the search


def search(beam=4, n=N) -> ScheduleSearch:
    features = FEATURES if n == N else trajectories(n)
    rule = CalibratedRule(calibration(features))
    gram = rule.calibration.gram(n)
    return ScheduleSearch(gram, lambda evaluated, steps: rule.coefficients_of_steps(evaluated, steps, n), beam)


def test_expected_errors_are_those_of_the_features():
    before = (0, 1, 4)
    coefficients = CalibratedRule(CALIBRATION).coefficients_of_steps(before, range(5, N), N)
    forecasts = np.einsum("sk,bkf->bsf", coefficients, FEATURES[:, before])
    squares = ((FEATURES[:, 5:] - forecasts) ** 2).sum(axis=(0, 2)) / (FEATURES[:, 5:] ** 2).sum(axis=(0, 2))
    np.testing.assert_allclose(search().errors(before), squares, rtol=1e-6)


def test_the_cost_of_a_schedule_is_summed_over_its_forecasts():
    one = search()
    assert one.total(range(N)) == 0
    gaps = [one.errors((0, 3))[:1], one.errors((0, 3, 5))[:2], one.errors((0, 3, 5, 8))]
    assert one.total((0, 3, 5, 8)) == pytest.approx(one.errors((0,))[:2].sum() + sum(gap.sum() for gap in gaps))


@pytest.mark.parametrize("evaluations", range(1, N + 1))
def test_the_search_finds_what_brute_force_finds(evaluations):
    one = search()
    every = ((0, *rest) for rest in itertools.combinations(range(1, N), evaluations - 1))
    least = min(map(one.total, every))
    found = one.best(evaluations)
    assert len(found) == evaluations and found[0] == 0
    assert one.total(found) <= 1.05 * least


def test_a_wider_beam_is_no_worse_and_exchanging_a_step_hardly_helps():
    wide, narrow = search(beam=8, n=50), search(beam=1, n=50)
    found = wide.best(10)
    assert wide.total(found) <= wide.total(narrow.best(10))
    for place, step in itertools.product(range(1, 10), (-2, -1, 1, 2)):
        moved = sorted({*found[:place], found[place] + step, *found[place + 1 :]} & set(range(50)))
        assert len(moved) < 10 or wide.total(moved) > 0.97 * wide.total(found)


def test_schedules_near_the_best_end_elsewhere_and_are_the_best_of_those_that_do():
    rule, one = CalibratedRule(CALIBRATION), search(beam=8)
    near = rule.near(N, 4, 3.0)
    costs = [rule.expected_error(N, evaluated) for evaluated in near]
    assert near[0] == rule.schedule(N, 4) and costs == sorted(costs) and costs[-1] <= 2 * costs[0]
    assert len({evaluated[-1] for evaluated in near}) == len(near) > 1
    for last in range(3, N):
        least = min(one.total((0, *rest, last)) for rest in itertools.combinations(range(1, last), 2))
        if least <= costs[0] * 10**0.3 * 0.99:
            assert any(evaluated[-1] == last for evaluated in near)
    assert rule.near(N, 4, 0.0) == near[:1]


@pytest.mark.parametrize(("evaluations", "message"), [(0, "at least 1"), (13, "at most the number of steps, 12")])
def test_impossible_numbers_of_evaluations_are_refused(evaluations, message):
    with pytest.raises(SpectrumError, match=message):
        CalibratedRule(CALIBRATION).schedule(N, evaluations)


# Schedules that a calibration cannot tell apart, and those that were chosen


def each(features: np.ndarray) -> list[Calibration]:
    return [calibration(one[None]) for one in features]


def test_candidates_are_what_the_halves_find_and_its_own_is_the_first():
    rule = CalibratedRule(CALIBRATION)
    found = candidates(rule, each(FEATURES), N, 5)
    near = rule.near(N, 5, 1.0)
    assert [*found][: len(near)] == near and near[0] == rule.schedule(N, 5) and sum(found.values()) == 8
    assert all(len(evaluated) == 5 and evaluated[0] == 0 for evaluated in found)
    others = [*found.values()][len(near) :]
    assert others == sorted(others, reverse=True)
    even, odd = (CalibratedRule(calibration(FEATURES[start::2])).schedule(N, 5) for start in (0, 1))
    assert {even, odd} <= found.keys()


def test_trajectories_that_are_alike_have_one_candidate():
    one = each(FEATURES)[0]
    rule = CalibratedRule(one)
    own, *near = rule.near(N, 5, 1.0)
    assert candidates(rule, [one] * 4, N, 5) == {own: 6, **dict.fromkeys(near, 0)}  # four have no third bit to split by
    assert candidates(rule, [], N, 5) == {own: 0, **dict.fromkeys(near, 0)}


def test_a_chosen_schedule_is_the_one_of_its_number_of_evaluations():
    chosen = replace(CALIBRATION, schedules={N: {4: (0, 1, 2, 9)}})
    rule = CalibratedRule(chosen)
    assert rule.schedule(N, 4) == (0, 1, 2, 9)
    assert rule.schedule(N, 5) == CalibratedRule(CALIBRATION).schedule(N, 5)
    again = Calibration.from_json(chosen.to_json())
    assert again.schedules == chosen.schedules and again.digest == chosen.digest != CALIBRATION.digest


# The file


CHOSEN, FIT = (0, 2, 5, 9), Fit(1e-2, order=2)


def fitted(target: str = "features", fit: Fit = FIT) -> Calibration:
    grams = {"features": {"grams": CALIBRATION.grams}, "output": {"grams": {}, "output_grams": CALIBRATION.grams}}
    return replace(CALIBRATION, **grams[target], schedules={N: {4: CHOSEN}}, fits={target: {N: {4: fit}}})


def test_the_fits_of_a_file_read_back_the_same():
    chosen = fitted()
    again = Calibration.from_json(chosen.to_json())
    assert again.fits == chosen.fits and isinstance(again.fits["features"][N][4], Fit)
    assert again.digest == chosen.digest != fitted(fit=Fit(1e-2)).digest


@pytest.mark.parametrize("target", ["features", "output"])
def test_a_chosen_fit_is_that_of_its_schedule_in_plans(target: str):
    rule = CalibratedRule(fitted(target), target=target)
    config = SpectrumConfig()
    plan = StepPlan.build(N, config, rule, rule.schedule(N, 4))
    plain = CalibratedRule(fitted(target), 1e-2, target, 2)
    assert plan.coefficients[7] == tuple(plain.coefficients((0, 2, 5), 7, N))
    assert plan.rule_description == plain.describe() and "shrinkage=0.01 lines, parabolas" in plain.describe()
    assert plan.coefficients[7] != tuple(rule.coefficients((0, 2, 5), 7, N))


def test_numbers_that_were_asked_for_are_kept():
    rule = CalibratedRule(fitted(), shrinkage=0.5)
    assert rule.suited_to(N, CHOSEN) == rule


@pytest.mark.parametrize(
    ("target", "chosen_for", "evaluated"),
    [("features", "features", (0, 2, 5, 8)), ("features", "features", (0, 2, 5)), ("output", "features", CHOSEN)],
    ids=["another schedule", "another number", "another target"],
)
def test_elsewhere_the_usual_fit_is_used(target: str, chosen_for: str, evaluated: tuple[int, ...]):
    chosen = replace(fitted(chosen_for), output_grams=CALIBRATION.grams)
    rule = CalibratedRule(chosen, target=target)
    assert rule.suited_to(N, evaluated) == rule
    assert StepPlan.build(N, SpectrumConfig(), rule, evaluated).rule_description == rule.describe()


def test_a_file_reads_back_the_same(tmp_path: Path):
    path = tmp_path / "calibration.json"
    path.write_text(CALIBRATION.to_json())
    again = Calibration.load(path)
    assert again.digest == CALIBRATION.digest == json.loads(path.read_text())["sha256"]
    assert again.source == CALIBRATION.source and list(again.grams) == [N]
    np.testing.assert_array_equal(again.grams[N], (CALIBRATION.grams[N] + CALIBRATION.grams[N].mT) / 2)
    assert CalibratedRule(again).describe() == CalibratedRule(CALIBRATION).describe()


def test_the_digest_names_the_content():
    # Written down, so that it cannot change from one version or machine to the next unnoticed.
    gram = np.array([[[2.0, 0.5], [0.5, 1.0]]])
    made = Calibration({2: gram}, {"model": "m"})
    assert made.digest == Calibration({2: gram.copy()}, {"model": "m"}).digest
    assert made.digest != Calibration({2: gram}, {"model": "n"}).digest
    assert made.digest != Calibration({2: 2 * gram}, {"model": "m"}).digest
    assert made.digest == "a4586e6cae5a01bd7ab390161bb0016f9fd41ddcfd4183e5202e142239be3516"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "is not a calibration file"),
        (lambda text: "[]", "is not a calibration file"),
        (lambda text: "{}", "is not a calibration file"),
        (lambda text: text.replace('"format": 2', '"format": 1'), "has format 1, not 2"),
        (lambda text: text.replace("drawn", "Drawn"), "cut or changed"),
        (lambda text: text.replace("0.", "1.", 1), "cut or changed"),
    ],
)
def test_a_broken_file_is_refused(change, message):
    with pytest.raises(SpectrumError, match=message) as caught:
        Calibration.from_json(change(CALIBRATION.to_json()), "the.json")
    assert str(caught.value).startswith("the.json")


def test_other_numbers_of_steps_are_refused():
    with pytest.raises(SpectrumError, match="is for 12 steps, not for 50"):
        CalibratedRule(CALIBRATION).coefficients((0, 1), 3, 50)


@pytest.mark.parametrize("shrinkage", [0, -1, None])
def test_shrinkage_must_be_positive(shrinkage):
    with pytest.raises(SpectrumError, match="shrinkage must be"):
        CalibratedRule(CALIBRATION, shrinkage)
