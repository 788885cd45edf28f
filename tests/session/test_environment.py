"""Tests see the same environment and an empty working directory on every machine, and hand both on as they were."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.session.inner import inner_pytest

CASES = Path(__file__).with_name("cases.py")
HOSTILE = {
    "HOME": "/nowhere",
    "HF_HOME": "/nowhere/hf",
    "HF_TOKEN": "secret",
    "HF_HUB_OFFLINE": "1",
    "XDG_CACHE_HOME": "/nowhere/cache",
    "XDG_CONFIG_HOME": "/nowhere/config",
    "DIFFUSERS_ATTN_BACKEND": "no such backend",
    "HYDRA_FULL_ERROR": "1",
    "OMP_NUM_THREADS": "7",
    "SLURM_CONF_SERVER": "nowhere",
    "SLURM_JOB_ID": "1",
    "SLURM_NTASKS": "8",
    "SBATCH_PARTITION": "nowhere",
    "SRUN_DEBUG": "3",
    "PYTHONPATH": "/nowhere",
    "LC_ALL": "POSIX",
    "TZ": "Asia/Tokyo",
    "COLUMNS": "40",
    "LEFT": "over",
}


def seen_by_a_test(*arguments: str, cwd: Path, **environment: str) -> dict[str, Any]:
    """Return environment and working directory as a test saw them, with the folder's random name left out."""
    told: dict[str, Any] = {}

    with inner_pytest(f"{CASES}::test_tells_its_environment", *arguments, cwd=cwd, **environment) as inner:
        assert inner.finish()[0] == 0
        found = inner.wait_until_ready()  # what it told outlives it
        folder = found["environment"]["TMPDIR"]
        # Tokens are random; pytest itself says which test runs, and xdist in which worker.
        varying = ("PYTEST_", "JOBS_TEST_SESSION")
        told = {
            name: value.replace(folder, "FOLDER")
            for name, value in found["environment"].items()
            if not name.startswith(varying)
        }
        inner.assert_nothing_is_left()
    return {"environment": told, "below": found["cwd"].startswith(f"{folder}/cwd/"), "files": found["files"]}


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_the_machine_does_not_come_in(workers: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "outputs" / "demo-shapes").mkdir(parents=True)
    expected = seen_by_a_test(cwd=Path("/"))
    assert expected["below"] and expected["files"] == []
    assert not HOSTILE.items() & expected["environment"].items()
    assert seen_by_a_test(*workers, cwd=tmp_path, **HOSTILE) == expected


def test_what_a_test_leaves_fails_it_and_not_the_next(tmp_path: Path) -> None:
    names = ("test_leaves_a_file", "test_leaves_an_environment", "test_finds_none_of_it")
    with inner_pytest(*(f"{CASES}::{name}" for name in names), cwd=tmp_path) as inner:
        code, output = inner.finish()
        inner.assert_nothing_is_left()
    assert code == 1, output
    assert "the test left left in the working directory" in output
    assert "3 passed, 1 error" in output
    assert os.listdir(tmp_path) == []
