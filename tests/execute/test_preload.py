"""What a command and its workers import before the first sample, each process as users start it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import SMALL, command, generate, tar_hashes


@pytest.mark.slow
def test_libraries_are_imported_once_and_what_is_not_needed_never(tmp_path: Path) -> None:
    words = ("prompt_file=prompts/shapes.txt", "total_prompt_num=2", *SMALL, "shard_size=1", "ngpu=2")
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}  # a line on each import
    new = subprocess.run(
        command(*words, f"output_base_path={tmp_path}/new"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    run = tmp_path / "new" / "demo-shapes"
    assert new.returncode == 0, new.stderr
    logs = [log.read_text() for log in run.glob("logs/*-worker*.log")]
    lines = "\n".join([new.stderr, *logs]).splitlines()
    imported = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    assert len(logs) == 2 and all("import time:" in log for log in logs)
    for name in ("torch", "transformers", "transformers.modeling_utils", "sympy"):
        assert imported.count(name) == 1, name
    for name in ("torch._dynamo.convert_frame", "torch.distributed.tensor", "torch.distributed.fsdp"):
        assert name not in imported, name

    # This command, a fork of a process that has imported all of it, makes the same bytes.
    assert generate(*words, f"output_base_path={tmp_path}/old").returncode == 0
    assert tar_hashes(run) == tar_hashes(tmp_path / "old" / "demo-shapes")
