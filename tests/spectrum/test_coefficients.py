"""Coefficients of forecasts: the published forecasts, and what the equations imply."""

import json
from pathlib import Path

import numpy as np
import pytest

from spectrum import ChebyshevRule, SpectrumError, forecast_coefficients

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["forecast"]
STEPS = (0, 1, 2, 3, 4, 6, 8, 11, 15)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"m{case['m']}-lam{case['lam']}-w{case['w']}")
def test_equals_the_published_forecasts(case):
    features = np.array(case["features"])
    assert case["forecast"]
    for step, expected in case["forecast"].items():
        before = [e for e in case["evaluated"] if e < int(step)]
        coefficients = forecast_coefficients(before, int(step), w=case["w"], lam=case["lam"], m=case["m"], horizon=50)
        np.testing.assert_allclose(coefficients @ features[before], expected, rtol=0, atol=2e-5)


def test_coefficients_are_float64_one_for_each_evaluated_step():
    coefficients = forecast_coefficients(STEPS, 18, w=0.5, lam=0.1, m=4, horizon=50)
    assert coefficients.shape == (len(STEPS),) and coefficients.dtype == np.float64


def test_w_mixes_the_two_forecasts():
    chebyshev, linear, mixed = (
        forecast_coefficients(STEPS, 18, w=w, lam=0.1, m=4, horizon=50) for w in (1.0, 0.0, 0.3)
    )
    np.testing.assert_allclose(mixed, 0.3 * chebyshev + 0.7 * linear, rtol=0, atol=1e-15)


def test_linear_part_continues_the_last_two_features():
    coefficients = forecast_coefficients(STEPS, 18, w=0.0, lam=0.1, m=4, horizon=50)
    np.testing.assert_allclose(coefficients, [0, 0, 0, 0, 0, 0, 0, -3 / 4, 7 / 4])


def test_linear_part_holds_a_lone_feature():
    np.testing.assert_array_equal(forecast_coefficients([0], 3, w=0.0, lam=0.1, m=4, horizon=50), [1.0])


def test_chebyshev_part_recovers_a_polynomial_of_its_degree_as_the_penalty_vanishes():
    polynomial = np.polynomial.Polynomial([0.3, -1.2, 0.5, 0.8, -0.4])
    values = polynomial(np.array(STEPS) / 25)
    forecasts = [forecast_coefficients(STEPS, 18, w=1.0, lam=lam, m=4, horizon=50) @ values for lam in (1e-10, 0.1)]
    assert forecasts[0] == pytest.approx(polynomial(18 / 25), abs=1e-6)
    assert abs(forecasts[1] - polynomial(18 / 25)) > 1e-3


def test_penalty_shrinks_the_sum_of_the_chebyshev_coefficients():
    # The constant is penalised too: the form of the paper, with its known bias.
    sums = [forecast_coefficients(STEPS, 18, w=1.0, lam=lam, m=4, horizon=50).sum() for lam in (1e-9, 0.1, 1.0, 10.0)]
    assert sums == sorted(sums, reverse=True) and sums[0] == pytest.approx(1, abs=1e-4) and sums[1] < 0.97


def test_rule_takes_the_number_of_steps_for_its_horizon():
    rule = ChebyshevRule(w=1.0, lam=0.1, m=4)
    np.testing.assert_array_equal(
        rule.coefficients(STEPS, 18, 28), forecast_coefficients(STEPS, 18, w=1.0, lam=0.1, m=4, horizon=28)
    )
    fixed = ChebyshevRule(w=1.0, lam=0.1, m=4, horizon=50)
    np.testing.assert_array_equal(fixed.coefficients(STEPS, 18, 28), fixed.coefficients(STEPS, 18, 50))
    assert np.abs(fixed.coefficients(STEPS, 18, 28) - rule.coefficients(STEPS, 18, 28)).max() > 1e-3


@pytest.mark.parametrize("evaluated", [(), (0, 1, 1), (0, 2, 1), (0, 18), (0, 20)])
def test_evaluated_steps_out_of_order_are_refused(evaluated):
    with pytest.raises(SpectrumError, match="ascending evaluated steps"):
        forecast_coefficients(evaluated, 18, w=1.0, lam=0.1, m=4, horizon=50)


@pytest.mark.parametrize(
    ("option", "value"),
    [("w", 1.5), ("w", -0.1), ("w", None), ("lam", 0), ("lam", -1.0), ("m", -1), ("m", 2.5), ("horizon", 0)],
)
def test_a_bad_option_is_named(option, value):
    with pytest.raises(SpectrumError, match=f"^{option} must be"):
        ChebyshevRule(**{"w": 1.0, "lam": 0.1, "m": 4, option: value})
