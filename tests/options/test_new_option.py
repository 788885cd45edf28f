"""docs/architecture.md's worked example, done for real: one field, one line, and everything follows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import webdataset as wds

from tests import warm
from tests.support import PROJECT

FIELD = '    clip_skip: int = option(None, "text encoder layers to skip", least=1, fallback=None)\n'
# The embedded model's pipeline has no clip_skip; what it is asked for shows in max_sequence_length instead.
LINE = '        asked["max_sequence_length"] = 16 - (options.clip_skip or 0)\n'


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with the example's two lines in it."""
    copy = tmp_path_factory.mktemp("changed")
    for name in ("jobs", "spectrum", "conf", "hydra_plugins"):
        shutil.copytree(PROJECT / name, copy / name)
    schema, pipeline = copy / "jobs/options/model.py", copy / "jobs/model/pipeline.py"
    after(schema, "    negative_prompt: str = option(", FIELD)
    after(pipeline, "        if self.model.negative_prompts:\n", LINE)
    (copy / "conf/model/demo.yaml").write_text((copy / "conf/model/demo.yaml").read_text().replace("call:", "# call:"))
    return copy


def after(path: Path, mark: str, line: str) -> None:
    """Put a line before the one that holds ``mark``, which must be there."""
    text = path.read_text()
    assert text.count(mark) == 1, mark
    path.write_text(text.replace(mark, line + mark))


def run(code: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(code)}
    return warm.run([sys.executable, "-m", "jobs.generate", *words], cwd=code, env=environment, timeout=200)


@pytest.mark.slow
def test_one_field_and_one_line_make_an_option(changed: Path, tmp_path: Path):
    prompts = tmp_path / "p.csv"
    prompts.write_text("prompt,clip_skip\na red circle,2\na blue star,\na green cross,2\n")
    given = (f"prompt_file={prompts}", f"output_base_path={tmp_path}", "exp_name=run", "num_inference_steps=3")
    made = run(changed, *given, "algo=nocache", "clip_skip=1")
    assert made.returncode == 0, made.stderr
    rows = list(wds.WebDataset(str(tmp_path / "run/data/00000.tar"), shardshuffle=False).decode())
    assert [row["json"]["clip_skip"] for row in rows] == [2, 1, 2]
    other = run(changed, *given, "algo=nocache")
    assert other.returncode == 2 and "clip_skip was 1, is null" in other.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("clip_skip=0",), "error: clip_skip must be a whole number of at least 1, not 0\n"),
        (("clip_skp=1",), "error: there is no option 'clip_skp': did you mean clip_skip=1?\n"),
        (("model.clip_skip=none",), "error: model.clip_skip must be a whole number of at least 1, not 'none'\n"),
    ],
)
def test_it_is_checked_like_any_other(changed: Path, words: tuple[str, ...], sentence: str):
    assert run(changed, "prompt_file=/none.txt", *words).stderr == sentence


def test_it_is_in_the_help(changed: Path):
    assert "  clip_skip=null" in run(changed, "--help").stdout
