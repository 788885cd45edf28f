"""The step plan: what it says of each step, of memory, and its name."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from spectrum import SpectrumConfig, SpectrumError, StepPlan, forecast_coefficients


def test_default_plan_of_fifty_steps():
    plan = StepPlan.build(50, SpectrumConfig())
    assert plan.evaluated == (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 25, 31, 38, 46)
    assert sorted(plan.evaluated + plan.forecast) == list(range(50))
    expected = forecast_coefficients((0, 1, 2, 3, 4, 6, 8), 10, w=0.5, lam=0.1, m=4, horizon=50)
    np.testing.assert_array_equal(plan.coefficients[10], expected)
    assert plan.history_bytes(1000, torch.bfloat16) == 14 * 1000 * 2
    assert plan.history_bytes(1000, torch.float32) == 14 * 1000 * 4


def test_evaluations_after_the_last_forecast_have_no_row():
    plan = StepPlan.build(10, SpectrumConfig(warmup_steps=3, force_last=2))
    assert plan.evaluated == (0, 1, 2, 4, 6, 8, 9) and plan.forecast == (3, 5, 7)
    assert plan.rows == {0: 0, 1: 1, 2: 2, 4: 3, 6: 4}


def test_a_plan_without_forecasts_keeps_nothing():
    plan = StepPlan.build(4, SpectrumConfig())
    assert plan.forecast == () and plan.rows == {} and plan.history_bytes(10**9, torch.float32) == 0


@pytest.mark.parametrize("num_steps", [1, 2, 6, 7, 28, 50, 100])
@pytest.mark.parametrize("force_last", [0, 2])
def test_each_forecast_uses_all_evaluations_before_it_and_each_row_is_used(num_steps, force_last):
    plan = StepPlan.build(num_steps, SpectrumConfig(warmup_steps=2, force_last=force_last))
    for step, coefficients in plan.coefficients.items():
        assert len(coefficients) == sum(evaluated < step for evaluated in plan.evaluated)
    assert len(plan.rows) == max((len(coefficients) for coefficients in plan.coefficients.values()), default=0)


class HoldRule:
    """Another rule: repeats the last feature."""

    def coefficients(self, evaluated_before, step, num_steps):
        return np.eye(len(evaluated_before))[-1]

    def describe(self):
        return "hold"


def test_another_rule_is_one_class():
    plan = StepPlan.build(10, SpectrumConfig(warmup_steps=2), HoldRule())
    assert plan.coefficients[2] == (0.0, 1.0)
    assert plan.evaluated == StepPlan.build(10, SpectrumConfig(warmup_steps=2)).evaluated
    assert plan.digest() != StepPlan.build(10, SpectrumConfig(warmup_steps=2)).digest()


def test_digest_names_the_plan():
    # Written down, so that it cannot change from one version or machine to the next unnoticed.
    digest = StepPlan.build(50, SpectrumConfig()).digest()
    assert digest == "d256fa578ece479f120796be86467beb14c1068519611ca9cc0fc3b172892b13"
    assert StepPlan.build(50, SpectrumConfig(w=0.5, lam=0.1, horizon=None)).digest() == digest
    assert StepPlan.build(50, SpectrumConfig(history_device="cpu")).digest() == digest
    others: list[dict[str, Any]] = [
        {"w": 1.0},
        {"lam": 0.2},
        {"m": 3},
        {"horizon": 40},
        {"warmup_steps": 6},
        {"force_last": 1},
    ]
    digests = {StepPlan.build(50, SpectrumConfig(**other)).digest() for other in others}
    assert len(digests | {digest, StepPlan.build(49, SpectrumConfig()).digest()}) == len(others) + 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("w", 2),
        ("lam", 0),
        ("m", -1),
        ("window_size", None),
        ("warmup_steps", 0),
        ("force_last", -1),
        ("history_device", "cuda"),
    ],
)
def test_bad_options_are_refused_when_the_config_is_made(option, value):
    with pytest.raises(SpectrumError, match=f"^{option} must be"):
        SpectrumConfig(**{option: value})


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SpectrumConfig().w = 0.5  # type: ignore[misc]
