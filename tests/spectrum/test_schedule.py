"""The schedule: the published one exactly, and what holds for any options."""

import json
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from spectrum import SpectrumError, evaluated_steps

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["schedule"]
SEED: dict[str, Any] = {"warmup_steps": 5, "window_size": 2, "flex_window": 0.75}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: "-".join(str(case[key]) for key in list(case)[:4]))
def test_equals_the_published_schedule(case):
    options = {key: value for key, value in case.items() if key != "evaluated"}
    assert list(evaluated_steps(**options)) == case["evaluated"]


@pytest.mark.parametrize("num_steps", [1, 2, 4, 5])
def test_no_more_steps_than_the_warm_up_are_all_evaluated(num_steps):
    assert evaluated_steps(num_steps, **SEED) == tuple(range(num_steps))


def test_windows_widen_as_their_sum_is_rounded():
    # 1 plus five times 0.2 is 1.9999999999999998 without rounding, and the sixth gap would still be 1.
    steps = evaluated_steps(40, warmup_steps=1, window_size=1, flex_window=0.2)
    assert [later - earlier for earlier, later in pairwise(steps)][:10] == [1] * 5 + [2] * 5


@pytest.mark.parametrize("force_last", [0, 1, 3, 50, 60])
def test_force_last_adds_final_steps_and_changes_nothing_else(force_last):
    plain = evaluated_steps(50, warmup_steps=5, window_size=2, flex_window=3.0)
    forced = evaluated_steps(50, warmup_steps=5, window_size=2, flex_window=3.0, force_last=force_last)
    assert set(forced) == set(plain) | set(range(max(0, 50 - force_last), 50))


@pytest.mark.parametrize(
    ("num_steps", "warmup", "window", "flex"),
    list(product([1, 2, 7, 28, 50], [1, 5], [1, 2, 3.7], [0, 0.75, 3])),
)
def test_is_ascending_begins_at_zero_and_gaps_never_shrink(num_steps, warmup, window, flex):
    steps = evaluated_steps(num_steps, warmup_steps=warmup, window_size=window, flex_window=flex)
    assert steps[: min(warmup, num_steps)] == tuple(range(min(warmup, num_steps)))
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert all(gap > 0 for gap in gaps) and gaps == sorted(gaps)
    assert steps[-1] < num_steps


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_steps", 0),
        ("num_steps", 5.0),
        ("warmup_steps", 0),
        ("warmup_steps", True),
        ("window_size", None),
        ("window_size", 0.5),
        ("window_size", float("nan")),
        ("flex_window", -0.1),
        ("flex_window", "0.75"),
        ("flex_window", float("inf")),
        ("force_last", -1),
    ],
)
def test_a_bad_option_is_named(option, value):
    options = {"num_steps": 50, **SEED, option: value}
    with pytest.raises(SpectrumError, match=f"^{option} must be"):
        evaluated_steps(**options)
