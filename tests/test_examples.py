"""The examples run as they are."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests import warm
from tests.support import PROJECT, generate, write_prompts

EXAMPLES = PROJECT / "examples"


def run(*words: str, timeout: float = 200) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=timeout).stdout


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


def test_synthesis(tmp_path: Path):
    """From prompts to a classifier that tells drawn shapes apart, which are one of six."""
    script = str(EXAMPLES / "synthesis/synthesis.py")
    last = run(sys.executable, script, str(tmp_path / "out"), "--prompts", "48", timeout=800).splitlines()[-1]
    said = re.fullmatch(r"trained on \d+ pictures: ([\d.]+)% of drawn ones told apart, by chance 16.7%", last)
    assert said and float(said[1]) > 60, last


def test_the_rules_for_snakemake(tmp_path: Path):
    """Their commands, one after the other: Snakemake itself is not among what tests need."""
    text = (EXAMPLES / "synthesis/Snakefile").read_text()
    rules = {name: rule for name, rule in re.findall(r"^rule (\w+):\n((?: .*\n|\n)+)", text, re.MULTILINE)}
    assert [*rules] == ["generate", "score", "export"]
    few = {"generate": ["total_prompt_num=4", "num_inference_steps=14", "device=cpu"]}
    for name, rule in rules.items():
        shell = "".join(re.findall(r'^        "(.*)"$', rule.partition("shell:")[2], re.MULTILINE))
        given = re.findall(r'^        "(.*)",$', rule.partition("output:")[0], re.MULTILINE)
        line = shell.format(
            input=PROJECT / given[0], output=tmp_path / "dataset", wildcards=SimpleNamespace(folder=tmp_path)
        )
        python, *words = shlex.split(line)
        done = warm.run([sys.executable, *words, *few.get(name, [])], timeout=240)
        assert python == "python" and done.returncode == 0, done.stderr
    prompts = pq.read_table(tmp_path / "dataset/metadata.parquet")["prompt_index"].to_pylist()
    assert 1 <= len(prompts) == len({*prompts}) <= 4, "the best of each prompt that shows what it says"


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_lines_of_python_in_pages_are_python(page: str):
    blocks = (PROJECT / page).read_text().split("```python\n")[1:]
    for block in blocks:
        compile(block.partition("```")[0], page, "exec")


@pytest.mark.parametrize("script", ["cluster.sh"])
def test_scripts_are_valid_and_can_be_run(script: str):
    subprocess.run(["bash", "-n", str(EXAMPLES / script)], check=True)
    assert (EXAMPLES / script).stat().st_mode & 0o111
