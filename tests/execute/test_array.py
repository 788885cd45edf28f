"""How tasks become arrays, and the text of one."""

import re
from pathlib import Path

import pytest

from jobs.execute.array import Array, at_work, cut, script, throttles
from jobs.execute.queue import expand, read_queue


@pytest.mark.parametrize(
    ("numbers", "places", "most", "sizes"),
    [
        (range(10), 10, 1001, [10]),
        (range(10), 7, 3, [3, 3, 1]),
        (range(2500), 9999, 1001, [834, 834, 832]),
        (range(10), 0, 5, []),
        (range(10), -3, 5, []),
        ([], 5, 5, []),
        ([0, 1, 5000, 5001, 9000], 9, 1000, [2, 2, 1]),  # indices count from the first
    ],
)
def test_arrays_are_cut_within_the_limits(numbers, places, most, sizes) -> None:
    arrays = cut(list(numbers), places, most)
    assert [len(array) for array in arrays] == sizes
    assert [number for array in arrays for number in array] == list(numbers)[: max(places, 0)]
    assert all(len(array) <= most and array[-1] - array[0] < most for array in arrays)


def test_indices_are_compact_and_count_from_the_first_task() -> None:
    array = Array(3, (1000, 1001, 1002, 1007, 1010), 2)
    assert (array.offset, array.indices) == (1000, "0-2,7,10%2")
    assert [array.offset + index for index in expand("0-2,7,10")] == list(array.numbers)
    assert Array(0, (5,), 99).indices == "0%1"


@pytest.mark.parametrize(
    ("arrays", "parallelism", "working", "shares"),
    [
        (1, 256, 0, [256]),
        (3, 256, 0, [86, 85, 85]),
        (10, 4, 0, [1, 1, 1, 1]),  # the others when one of these is through
        (2, 256, 200, []),  # 56 are free, which is little
        (2, 256, 190, [33, 33]),
        (1, 1, 1, []),
        (1, 2, 1, [1]),
    ],
)
def test_all_arrays_together_keep_to_the_parallelism(arrays, parallelism, working, shares) -> None:
    assert throttles(arrays, parallelism, working) == shares
    assert sum(shares) + working <= parallelism or not shares


def test_what_may_run_of_the_queue_follows_from_its_throttles() -> None:
    listing = (
        "1_[5-99%4]|PENDING|x||n\n1_3|RUNNING|None|b|n\n2_7|RUNNING|None|b|n\n2_8|RUNNING|None|b|n\n3|PENDING|x||n\n"
    )
    assert at_work(read_queue(listing)) == 4 + 2 + 1


def test_the_text_of_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda self: 1)  # there may be no Slurm here
    settings = {
        "timeout_min": 30, "cpus_per_task": 4, "gpus_per_node": 1, "tasks_per_node": 1, "mem_gb": 12, "nodes": 1,
        "partition": "gpu", "exclude": "node7", "account": None, "signal_delay_s": 120,
        "additional_parameters": {"mail-user": "a@b"}, "setup": ["module load cuda"], "stderr_to_stdout": False,
    }  # fmt: skip
    text = script(settings, Path("/runs/it's/logs/launch-1"), "a-launch-1.2.10", Array(2, (10, 12), 1), ["node3"])
    (python,) = re.findall(r"(\S+) -u -m jobs", text)
    assert text.replace(python, "python") == (Path(__file__).parent / "array.sh").read_text()
