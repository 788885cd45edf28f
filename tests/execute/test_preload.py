"""What a command and its workers import before the first sample, each process as users start it."""

import os
import subprocess
from pathlib import Path

import pytest

from jobs.store.scores import ScoreDir
from tests.export.runs import finished_run, lines
from tests.support import SMALL, command, generate, tar_hashes


def imported_by(words: list[str], logs: Path) -> list[str]:
    """Run a command with two workers, and return what all of its processes imported."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}  # a line on each import
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    said = [log.read_text() for log in logs.glob("*-worker*.log")]
    assert len(said) == 2 and all("import time:" in log for log in said)
    lines = "\n".join([done.stderr, *said]).splitlines()
    return [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]


@pytest.mark.slow
def test_libraries_are_imported_once_and_what_is_not_needed_never(tmp_path: Path) -> None:
    words = ("prompt_file=prompts/shapes.txt", "total_prompt_num=2", *SMALL, "shard_size=1", "ngpu=2")
    run = tmp_path / "new" / "demo-shapes"
    imported = imported_by(command(*words, f"output_base_path={tmp_path}/new"), run / "logs")
    for name in ("hydra", "torch", "transformers", "transformers.modeling_utils", "sympy"):
        assert imported.count(name) == 1, name
    for name in ("torch._dynamo.convert_frame", "torch.distributed.tensor", "torch.distributed.fsdp"):
        assert name not in imported, name
    assert "scipy.linalg" not in imported

    # This command, a fork of a process that has imported all of it, makes the same bytes.
    assert generate(*words, f"output_base_path={tmp_path}/old").returncode == 0
    assert tar_hashes(run) == tar_hashes(tmp_path / "old" / "demo-shapes")


@pytest.mark.slow
def test_to_measure_pixels_takes_no_library_of_models(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lines(6)).directory
    words = command(str(run.path), "scorers=[basic]", "ngpu=2", "device=cpu", module="jobs.score")
    imported = imported_by(words, ScoreDir(run, "basic").logs)
    assert imported.count("torch") == 1
    assert not {"diffusers", "transformers", "torch._dynamo"} & {*imported}
