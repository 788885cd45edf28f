"""What the benchmarks share: tables that line up, and time and memory as they are measured."""

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from tools.benchmarks.common.command import new_parser, read_results, refuse_below, refuse_unknown
from tools.benchmarks.common.machine import describe, results_file
from tools.benchmarks.common.memory import peak_mb
from tools.benchmarks.common.table import table
from tools.benchmarks.common.timing import median_seconds, watched


def test_columns_line_up_and_numbers_stand_at_the_right() -> None:
    assert table(
        ("method", "PSNR", "", "gain"),
        [("linear", "38.5 ± 0.9", "a|b", ""), ("Chebyshev", "9.1", "", "-1.0"), ("hold", "", "", "+10.0")],
    ).splitlines() == [
        "| method    |       PSNR |      |  gain |",
        "| --------- | ---------: | ---- | ----: |",
        r"| linear    | 38.5 ± 0.9 | a\|b |       |",
        "| Chebyshev |        9.1 |      |  -1.0 |",
        "| hold      |            |      | +10.0 |",
    ]


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        table(("a", "b"), [("1",)])


def test_the_machine_is_described(tmp_path) -> None:
    found = describe(tmp_path)
    assert found["cpu"] and found["cores"] > 0 and found["memory_gib"] > 0
    assert " on " in found["file_system"] and found["libraries"]["torch"]


def test_results_are_named_after_the_device(tmp_path) -> None:
    assert results_file(tmp_path, "speed", "NVIDIA H200 (SXM)") == tmp_path / "speed-nvidia-h200-sxm.json"


def test_the_median_is_of_every_repeat() -> None:
    moments = iter([0.0, 1.0, 10.0, 15.0, 20.0, 22.0])  # 1, 5 and 2 seconds
    results = iter("abc")
    assert median_seconds(lambda: next(results), 3, lambda: next(moments)) == ("c", 2.0)


def test_peak_memory_is_at_least_what_is_held() -> None:
    held = bytearray(50_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert peak_mb() > 50


def test_a_section_says_when_and_beside_what_it_was_measured() -> None:
    section: dict[str, Any] = {}
    with watched(section):
        pass
    assert section.keys() == {"date", "seconds", "cores_busy_elsewhere"}
    assert section["cores_busy_elsewhere"] >= 0


@pytest.mark.parametrize(
    ("refuse", "sentence"),
    [
        (
            lambda parser: refuse_unknown(parser, "model", ["a", "c"], ["a", "b"]),
            "there is no model 'c': choose among a, b",
        ),
        (
            lambda parser: refuse_below(parser, argparse.Namespace(time_limit=0.5), 1, "time_limit"),
            "--time-limit must be at least 1, not 0.5",
        ),
    ],
)
def test_what_is_wrong_ends_the_program_with_a_sentence(refuse, sentence, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        refuse(new_parser("python -m some.benchmark", None))
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {sentence}\n")


def test_nothing_can_be_rendered_before_something_was_measured(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        read_results(new_parser("python -m some.benchmark", None), tmp_path / "some.json")
    assert "some.json: measure first" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["speed", "quality", "parallel", "runner"])
def test_no_benchmark_imports_another(name: str) -> None:
    folder = Path(__file__).parents[3] / "tools" / "benchmarks" / name
    imported = {
        found
        for file in folder.glob("*.py")
        for found in re.findall(r"from tools\.benchmarks\.(\w+)", file.read_text())
    }
    assert name in imported and imported <= {name, "common"}
