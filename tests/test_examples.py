"""The examples run as they are."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support import PROJECT, generate, write_prompts

EXAMPLES = PROJECT / "examples"


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=200).stdout


def test_attach(tmp_path: Path):
    said = run(sys.executable, str(EXAMPLES / "attach.py"), str(tmp_path / "star.png"))
    assert said == "14 of 50 steps evaluated\n"
    with Image.open(tmp_path / "star.png") as image:
        assert image.size == (64, 64)
        corner, centre = image.convert("RGB").getpixel((2, 2)), image.convert("RGB").getpixel((32, 32))
    assert isinstance(corner, tuple) and isinstance(centre, tuple)
    assert max(corner) < 60 and centre[1] > max(centre[0], centre[2]), "a green star on black"


def test_read_dataset(tmp_path: Path):
    prompts = write_prompts(tmp_path / "p.txt", 3)
    given = (f"prompt_file={prompts}", f"output_base_path={tmp_path}", "exp_name=run", "num_inference_steps=8")
    assert generate(*given, "shard_size=2").returncode == 0
    lines = run(sys.executable, str(EXAMPLES / "read_dataset.py"), str(tmp_path / "run")).splitlines()
    assert [line.split("  ")[-1] for line in lines] == prompts.read_text().splitlines()


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_lines_of_python_in_pages_are_python(page: str):
    blocks = (PROJECT / page).read_text().split("```python\n")[1:]
    for block in blocks:
        compile(block.partition("```")[0], page, "exec")


@pytest.mark.parametrize("script", ["cluster.sh"])
def test_scripts_are_valid_and_can_be_run(script: str):
    subprocess.run(["bash", "-n", str(EXAMPLES / script)], check=True)
    assert (EXAMPLES / script).stat().st_mode & 0o111
