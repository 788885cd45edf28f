"""Every choice in conf/ composes, passes the checks and is documented; the seed's command line works."""

from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest
import yaml
from omegaconf import MISSING, ValidationError

from jobs.dataset.prompts import SETTINGS
from jobs.options.explain import option_names
from jobs.options.export import ExportOptions
from jobs.options.fields import limits_of
from jobs.options.model import ModelOptions, SampleOptions
from jobs.options.places import CONF
from jobs.options.schema import Options
from jobs.options.score import ScoreOptions
from jobs.options.table import help_text, long_table, rows, short_table
from jobs.options.words import group_table
from jobs.run.read_options import read_options
from jobs.run.resolve import resolve
from tests.support import PROJECT, config

MODELS = sorted(path.stem for path in CONF.glob("model/*.yaml"))
ALGOS = sorted(path.stem for path in CONF.glob("algo/*.yaml"))
SHAPES = "prompt_file=prompts/shapes.txt"
FROM_MODEL = [*(field.name for field in fields(SampleOptions)), "batch_size"]
LEFT_TO_THE_ROOT = [f"model.{name}" for name in FROM_MODEL]


@pytest.mark.parametrize(("model", "algo"), list(product(MODELS, ALGOS)))
def test_every_choice_composes_and_passes_the_checks(model: str, algo: str):
    # A hub id passes without a download: what it names is looked at when it is loaded.
    run = resolve(config(f"model={model}", f"algo={algo}", SHAPES))
    assert run.identity["algo"]["name"] == algo
    assert run.options.model.name == model
    assert run.directory.path == Path("outputs") / f"{model}-shapes"
    assert run.layout.num_samples > 0


@pytest.mark.parametrize("model", MODELS)
def test_a_models_defaults_hold_until_the_command_line_says_otherwise(model: str):
    own = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())
    options = read_options(config(f"model={model}", SHAPES))
    unset = {"num_frames": 1, "negative_prompt": "", "batch_size": 1}
    assert {name: getattr(options, name) for name in FROM_MODEL} == {name: (unset | own)[name] for name in FROM_MODEL}
    size, frames = options.model.size_multiple * 3, (options.model.frame_step or 0) * 2 + 1
    said = {"height": size, "width": size, "num_frames": frames, "num_inference_steps": 7, "guidance_scale": 2.5}
    said["batch_size"] = 3
    options = read_options(config(f"model={model}", SHAPES, *(f"{name}={value}" for name, value in said.items())))
    assert {name: getattr(options, name) for name in said} == said


# --- the seed's command line, with the script's name and the model changed

SEED = (
    "algo=spectrum algo.w=0.5 algo.lam=0.1 algo.m=4 window_size=2 flex_window=0.75 exp_name=temp ngpu=1 "
    "total_prompt_num=1000 output_base_path=output_samples_image prompt_file=prompts/shapes.txt"
)


def test_the_seeds_command_line_works():
    run = resolve(config(*SEED.split()))
    assert run.identity["algo"] == {
        "name": "spectrum",
        "target": "features",
        "w": 0.5,
        "lam": 0.1,
        "m": 4,
        "horizon": None,
        "force_last": 0,
        "weights": "chebyshev",
        "calibration": None,
        "schedule": "window",
        "evaluations": None,
    }
    assert [run.identity[name] for name in ("warmup_steps", "window_size", "flex_window")] == [5, 2, 0.75]
    assert run.directory.path == Path("output_samples_image/temp")
    assert (run.options.ngpu, run.options.total_prompt_num) == (1, 1000)
    assert Path(run.options.prompt_file).samefile(PROJECT / "prompts/shapes.txt")
    assert run.layout.num_samples == len((PROJECT / "prompts/shapes.txt").read_text().split("\n")) - 1  # under 1000


@pytest.mark.parametrize("flex", ["0.75", "3.0"])
def test_spectrums_root_options_reach_the_algorithm(flex: str):
    forecast = resolve(config("warmup_steps=3", "window_size=4", f"flex_window={flex}", SHAPES)).forecast
    assert forecast
    chosen = forecast.config
    assert (chosen.warmup_steps, chosen.window_size, chosen.flex_window) == (3, 4, float(flex))


def test_a_prompt_file_of_ours_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert read_options(config(SHAPES)).prompt_file == str(PROJECT / "prompts/shapes.txt")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/shapes.txt").write_text("the user's own comes first\n")
    assert read_options(config(SHAPES)).prompt_file == "prompts/shapes.txt"


# --- the one place that names options


def test_model_files_hold_only_what_differs():
    for model in MODELS:
        own = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())
        defaults = {field.name: field.default for field in fields(ModelOptions)}
        same = [name for name, value in own.items() if name in defaults and value == defaults[name]]
        assert same == [], f"{model}.yaml repeats the schema's defaults"


def test_every_option_has_help_and_limits_that_its_default_fits():
    for name, field, group in rows():
        assert field.metadata["help"], name
        if (
            "file" not in field.metadata
            and field.default is not None
            and field.default_factory is NO_DEFAULT
            and field.default != MISSING
        ):
            limits_of(group, field.name).convert(field.default)


def test_the_schema_of_the_config_knows_what_may_be_null():
    cfg = config(SHAPES)
    assert cfg.height is None and cfg.seed == 0
    cfg.height = None
    with pytest.raises(ValidationError):
        cfg.seed = None


def test_per_sample_options_are_the_columns_of_prompt_files_and_defaults_of_models():
    names = {field.name for field in fields(SampleOptions)}
    assert names | {"seed", "id"} == set(SETTINGS)
    assert names <= {field.name for field in fields(ModelOptions)} & {field.name for field in fields(Options)}


def test_help_names_every_option():
    text = help_text()
    assert [name for name in option_names() if f"  {name}=" not in text and name not in LEFT_TO_THE_ROOT] == []


@pytest.mark.parametrize(
    ("page", "table"),
    [
        ("README.md", short_table()),
        ("docs/options.md", long_table()),
        ("docs/export.md", group_table(ExportOptions)),
        ("docs/scoring.md", group_table(ScoreOptions)),
    ],
)
def test_the_tables_of_the_documentation_are_the_schemas(page: str, table: str):
    """Written by python -m tools.write_options."""
    assert table in (PROJECT / page).read_text()
