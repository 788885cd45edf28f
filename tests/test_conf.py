"""Every choice in conf/ composes, passes the checks and is documented; the seed's command line works."""

import re
from itertools import product
from pathlib import Path

import pytest
import yaml

from jobs.checks import MODEL_KEYS
from jobs.options import DEFAULTS, PROJECT, ROOT_KEYS, make_plan, read_options
from tests.jobs.support import config

CONF = PROJECT / "conf"
FILES = sorted(CONF.glob("**/*.yaml"))
MODELS = sorted(path.stem for path in CONF.glob("model/*.yaml"))
ALGOS = sorted(path.stem for path in CONF.glob("algo/*.yaml"))
SHAPES = "prompt_file=prompts/shapes.txt"


@pytest.mark.parametrize(("model", "algo"), list(product(MODELS, ALGOS)))
def test_every_choice_composes_and_passes_the_checks(model: str, algo: str):
    # A hub id passes without a download: what it names is looked at when it is loaded.
    options = read_options(config(f"model={model}", f"algo={algo}", SHAPES))
    assert options.algo["name"] == algo
    assert options.model["name"] == model
    assert options.run_path == Path("outputs") / f"{model}-shapes"
    assert make_plan(options).num_samples > 0


@pytest.mark.parametrize("model", MODELS)
def test_a_models_defaults_hold_until_the_command_line_says_otherwise(model: str):
    own = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())
    options = read_options(config(f"model={model}", SHAPES))
    names = (*DEFAULTS, "batch_size")
    assert [getattr(options, name) for name in names] == [own[name] for name in names]
    size, frames = own["size_multiple"] * 3, (own["frame_step"] or 0) * 2 + 1
    said = {"height": size, "width": size, "num_frames": frames, "num_inference_steps": 7, "guidance_scale": 2.5}
    said["batch_size"] = 3
    options = read_options(config(f"model={model}", SHAPES, *(f"{name}={value}" for name, value in said.items())))
    assert {name: getattr(options, name) for name in names} == said


def test_the_files_hold_the_keys_that_are_checked():
    """The other way round, a key in a file that the checks do not know, fails above."""
    root = yaml.safe_load((CONF / "generate.yaml").read_text())
    assert root.keys() - {"defaults", "hydra"} == ROOT_KEYS - {"model", "algo"}
    for model in MODELS:
        assert yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text()).keys() == MODEL_KEYS


# --- the seed's command line, with the script's name and the model changed

SEED = (
    "algo=spectrum algo.w=0.5 algo.lam=0.1 algo.m=4 window_size=2 flex_window=0.75 exp_name=temp ngpu=1 "
    "total_prompt_num=1000 output_base_path=output_samples_image prompt_file=prompts/shapes.txt"
)


def test_the_seeds_command_line_works():
    options = read_options(config(*SEED.split()))
    assert options.algo == {
        "name": "spectrum",
        "w": 0.5,
        "lam": 0.1,
        "m": 4,
        "horizon": None,
        "force_last": 0,
        "history_device": None,
        "weights": "chebyshev",
        "calibration": None,
        "schedule": "window",
        "evaluations": None,
        "warmup_steps": 5,
        "window_size": 2,
        "flex_window": 0.75,
    }
    assert options.run_path == Path("output_samples_image/temp")
    assert (options.ngpu, options.total_prompt_num) == (1, 1000)
    assert options.prompt_file.samefile(PROJECT / "prompts/shapes.txt")
    plan = make_plan(options)
    assert plan.num_samples == len((PROJECT / "prompts/shapes.txt").read_text().split("\n")) - 1  # fewer than 1000


@pytest.mark.parametrize("flex", ["0.75", "3.0"])
def test_spectrums_root_options_reach_the_algorithm(flex: str):
    options = read_options(config("warmup_steps=3", "window_size=4", f"flex_window={flex}", SHAPES))
    assert [options.algo[name] for name in ("warmup_steps", "window_size", "flex_window")] == [3, 4, float(flex)]


def test_a_prompt_file_of_ours_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert read_options(config(SHAPES)).prompt_file == PROJECT / "prompts/shapes.txt"
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/shapes.txt").write_text("the user's own comes first\n")
    assert read_options(config(SHAPES)).prompt_file == Path("prompts/shapes.txt")


# --- documentation in the files themselves


def undocumented(text: str) -> list[str]:
    """Keys without a comment on their line, on the line above, or on the key that they stand within."""
    missing: list[str] = []
    covered: int | None = None  # indentation of the documented block that we are in
    above = ""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if covered is not None and line.strip() and indent <= covered:
            covered = None
        key = re.match(r"\s*(?:- )?(?:override )?([\w/]+):(?:\s|$)", line)
        if key and covered is None:
            if re.search(r"(^|\s)#\s*\S", line) or above.lstrip().startswith("#"):
                covered = indent
            else:
                missing.append(key[1])
        above = line
    return missing


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_is_documented(path: Path):
    text = path.read_text()
    assert text.startswith("# "), "says first what the file is"
    assert undocumented(text) == []


def test_the_search_for_documentation_finds_gaps():
    text = "# about a\na: 1\nb: 2  # about b\nc: 3\nd: # about d\n  inner: 4\ne:\n  inner: 5  # about it\nf: '#'\n"
    assert undocumented(text) == ["c", "e", "f"]


def test_every_root_option_is_in_the_readme():
    readme = (PROJECT / "README.md").read_text()
    assert [name for name in sorted(ROOT_KEYS) if f"`{name}`" not in readme] == []
