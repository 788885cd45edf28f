"""Validators, and the error of the package: what it tells to people and to programs."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spectrum import CalibratedRule, Calibration, ChebyshevRule, SpectrumConfig, SpectrumError, evaluated_steps
from spectrum.checks import positive_number, real_number, whole_number

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(("value", "number"), [(1, 1), (7, 7), (10**30, 10**30)])
def test_whole_numbers_pass(value, number):
    assert whole_number("m", value, least=1) == number


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, "1", None, NAN])
def test_what_is_no_whole_number_of_at_least_one_is_refused(value):
    with pytest.raises(SpectrumError) as caught:
        whole_number("m", value, least=1)
    assert str(caught.value) == f"m must be a whole number of at least 1, not {value!r}"


@pytest.mark.parametrize("value", [0, 0.0, 0.5, 1])
def test_real_numbers_pass_as_floats(value):
    number = real_number("w", value, least=0, most=1)
    assert number == value and type(number) is float


@pytest.mark.parametrize("value", [-0.1, 2, True, "0.5", None, NAN, INFINITY, -INFINITY])
def test_what_is_no_real_number_within_limits_is_refused(value):
    with pytest.raises(SpectrumError) as caught:
        real_number("w", value, least=0, most=1)
    assert str(caught.value) == f"w must be a number from 0 to 1, not {value!r}"


@pytest.mark.parametrize("value", [0.5, None, INFINITY])
def test_a_limit_below_alone_is_named_alone(value):
    with pytest.raises(SpectrumError) as caught:
        real_number("window_size", value, least=1)
    assert str(caught.value) == f"window_size must be a number of at least 1, not {value!r}"


def test_positive_numbers_pass_as_floats():
    assert positive_number("lam", 5e-324) == 5e-324
    assert type(positive_number("lam", 1)) is float


@pytest.mark.parametrize("value", [0, 0.0, -1, True, "1", None, NAN, INFINITY])
def test_what_is_not_above_zero_is_refused(value):
    with pytest.raises(SpectrumError) as caught:
        positive_number("lam", value)
    assert str(caught.value) == f"lam must be a number above 0, not {value!r}"


def schedule(**options: Any) -> object:
    return evaluated_steps(**{"num_steps": 50, "warmup_steps": 5, "window_size": 2, "flex_window": 0.75, **options})


CALIBRATION = Calibration({2: np.eye(2)[None]}, {})
SEARCH = CalibratedRule(CALIBRATION).schedule

# What is called with a bad argument, which one, and what is said of it.
AT_FAULT: list[tuple[Callable[[], object], str, str]] = [
    (lambda: SpectrumConfig(w=2), "w", "must be a number from 0 to 1, not 2"),
    (lambda: SpectrumConfig(lam=0), "lam", "must be a number above 0, not 0"),
    (lambda: SpectrumConfig(m=-1), "m", "must be a whole number of at least 0, not -1"),
    (lambda: SpectrumConfig(horizon=0), "horizon", "must be a whole number of at least 1, not 0"),
    (lambda: SpectrumConfig(warmup_steps=0), "warmup_steps", "must be a whole number of at least 1, not 0"),
    (lambda: SpectrumConfig(window_size=0.5), "window_size", "must be a number of at least 1, not 0.5"),
    (lambda: SpectrumConfig(flex_window=-1), "flex_window", "must be a number of at least 0, not -1"),
    (lambda: SpectrumConfig(force_last=-1), "force_last", "must be a whole number of at least 0, not -1"),
    (
        lambda: SpectrumConfig(history_device="cuda"),
        "history_device",
        "must be 'cpu', or None for the device of the features, not 'cuda'",
    ),
    (lambda: ChebyshevRule(w=-1, lam=0.1, m=4), "w", "must be a number from 0 to 1, not -1"),
    (lambda: schedule(num_steps=0), "num_steps", "must be a whole number of at least 1, not 0"),
    (lambda: CalibratedRule(CALIBRATION, shrinkage=0), "shrinkage", "must be a number above 0, not 0"),
    (lambda: CalibratedRule(CALIBRATION, order=0), "order", "must be a whole number of at least 1, not 0"),
    (lambda: CalibratedRule(CALIBRATION, order=3), "order", "must be 1 or 2, not 3"),
    (lambda: SEARCH(2, 0), "evaluations", "must be a whole number of at least 1, not 0"),
    (lambda: SEARCH(2, 3), "evaluations", "must be at most the number of steps, 2, not 3"),
]


@pytest.mark.parametrize(("call", "option", "problem"), AT_FAULT, ids=lambda value: value if type(value) is str else "")
def test_an_error_names_the_option_and_the_problem(call, option, problem):
    with pytest.raises(SpectrumError) as caught:
        call()
    error = caught.value
    assert (error.option, error.problem, str(error)) == (option, problem, f"{option} {problem}")


def test_an_error_that_no_single_option_makes_has_none():
    with pytest.raises(SpectrumError) as caught:
        CALIBRATION.gram(50)
    assert caught.value.option is None
    assert caught.value.problem == str(caught.value)
    assert str(caught.value).startswith("the calibration is for 2 steps, not for 50: ")


@pytest.mark.parametrize("option", [None, "w"])
def test_an_error_comes_whole_from_another_process(option):
    error = pickle.loads(pickle.dumps(SpectrumError("must be less", option=option)))
    assert isinstance(error, SpectrumError) and isinstance(error, ValueError)
    assert (error.option, error.problem) == (option, "must be less")
    assert str(error) == ("must be less" if option is None else "w must be less")
