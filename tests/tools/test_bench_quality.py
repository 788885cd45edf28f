"""The quality benchmark at its smallest: that it measures what it says, not what comes out."""

import numpy as np
import pytest

from tools.bench_quality import FLEX, SHARES, measure, psnr, render


def test_psnr_of_known_differences() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert psnr(black, black).tolist() == [99.0, 99.0]
    one_off = black + np.uint8([[[[1]]], [[[255]]]])
    assert psnr(one_off, black) == pytest.approx([48.13, 0.0], abs=0.01)


def test_rows_of_a_tiny_run() -> None:
    rows = measure(2, steps=(8,))
    assert len(rows) == len(FLEX) * 2 * len(SHARES)  # horizon 8 and 50
    assert {row["evaluations"] for row in rows} == {6}
    assert all(0 < row["psnr"] < 99 for row in rows)  # forecasts changed the pictures
    machine = {"cpu": "a processor", "cores": 2, "libraries": {"torch": "2"}}
    assert render({"machine": machine, "prompts": 2, "rows": rows}).count("| 8 | 6 |") == 4
