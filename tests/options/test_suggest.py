"""What is suggested for options that do not exist, and for models that are no names of files."""

from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.options.compose import compose_options
from jobs.options.explain import option_names
from jobs.options.suggest import RUN_ALIASES


def sentence(argument: str) -> str:
    with pytest.raises(BadInput) as refused:
        compose_options([argument])
    return str(refused.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("steps=20", "num_inference_steps=20"),
        ("numInferenceSteps=20", "num_inference_steps=20"),
        ("cfg=7", "guidance_scale=7"),
        ("neg=bad", "negative_prompt=bad"),
        ("neg=it's, bad", "negative_prompt=it's, bad"),
        ("size=512", "width=512 height=512"),
        ("size=832x480", "width=832 height=480"),
        ("aspect_ratio=wide", "width=... height=..."),
        ("n=4", "samples_per_prompt=4"),
        ("num_images=4", "samples_per_prompt=4"),
        ("output=x", "output_base_path=x"),
        ("outdir=/tmp/it's", "output_base_path=/tmp/it's"),
        ("name=mine", "exp_name=mine"),
        ("gpus=8", "ngpu=8"),
        ("num_gpus=8", "ngpu=8"),
        ("prompts=a.txt", "prompt_file=a.txt"),
        ("prompt=lists/a", "prompt_file=lists/a"),
        ("sampler=DDIMScheduler", "model.scheduler=DDIMScheduler"),
        ("scheduler=DDIMScheduler", "model.scheduler=DDIMScheduler"),
        ("fps=8", "model.fps=8"),
        ("model.steps=9", "model.num_inference_steps=9"),
        ("model.gpu=2", "model.gpus=2"),
        ("algo.window_size=3", "window_size=3"),
        ("sampels_per_prompt=3", "samples_per_prompt=3"),
        ("launcher=submitit_slurm", "hydra/launcher=submitit_slurm"),
    ],
)
def test_the_right_option_is_suggested(given: str, meant: str) -> None:
    name = given.partition("=")[0]
    assert sentence(given) == f"there is no option '{name}': did you mean {meant}?"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("prompt=a cat, a dog", "write prompts into a file, one a line, and give prompt_file=FILE"),
        ("lora=x", "did you mean 'model.loras=[{path: x}]'?"),
        ("hydra.launcher.partition=x", "hydra/launcher=submitit_slurm has it: add -m hydra/launcher=submitit_slurm"),
        ("hydra.launcher.mem=3", "did you mean hydra.launcher.mem_gb=3?"),
        ("hydra.launcher.time=60", "did you mean hydra.launcher.timeout_min=60?"),
        ("hydra.launcher.acount=x", "did you mean hydra.launcher.account=x?"),
        ("hydra.launcher.colour=x", "python -m jobs.generate --help lists the options"),
        ("hydra.launcher.additional_parameters.hint=x", "add it with '+hydra.launcher.additional_parameters.hint=x'"),
        ("hydra.launcher.additional_parameters={a:1}", "add it with '+hydra.launcher.additional_parameters={a:1}'"),
        ("partition=x", "did you mean hydra.launcher.partition=x?"),
        ("colour=red", "python -m jobs.generate --help lists the options"),
    ],
)
def test_what_has_no_option_gets_another_hint(given: str, hint: str) -> None:
    assert sentence(given) == f"there is no option '{given.partition('=')[0]}': {hint}"


def test_aliases_stand_for_options_that_exist() -> None:
    assert RUN_ALIASES.keys() <= {*option_names(), "algo", "hydra/launcher"}
    names = [alias for aliases in RUN_ALIASES.values() for alias in aliases]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("black-forest-labs/FLUX.1-dev", "is the checkpoint of model=flux: write that"),
        ("flux.1-dev", "is the checkpoint of model=flux: write that"),
        ("embedded:image", "is the checkpoint of model=demo: write that"),
        ("org/name", "is a hub id, and model= takes the name of a file in conf/model: write model.path=org/name *"),
        ("/data/ckpt", "is a path, and model= takes the name of a file in conf/model: write model.path=/data/ckpt *"),
        ("~/ckpt", "is a path, and *"),
        ("here", "is a path, and *"),
        ("sdx", "is not known: choose one of demo, demo-unet, demo-video, flux, hunyuan, sd3-5, sdxl, wan14b"),
    ],
)
def test_a_checkpoint_in_place_of_a_model_is_recognised(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert sentence(f"model={given}").startswith(f"model={given} {said.removesuffix('*')}")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("model.call={a:1}", "what model.call holds is added to it: write '+model.call={a:1}'"),
        ("+seed=3", "seed has a value already: change it without the sign +, like seed=..."),
        (
            "+model.call.max_sequence_length=9",
            "model.call.max_sequence_length has a value already: change it without the sign +, "
            "like model.call.max_sequence_length=...",
        ),
    ],
)
def test_what_is_added_and_what_is_changed_is_told_apart(argument: str, said: str) -> None:
    assert sentence(argument) == said


@pytest.mark.parametrize(
    ("argument", "place"),
    [
        ("seed=a'b", 'character 7 on, "\'"'),
        ("seed=1 (2", "character 8 on, '('"),
        ("seed=#3", "character 6 on, '#'"),
        ("height=64]", "character 10 on, ']'"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(argument: str, place: str) -> None:
    assert sentence(argument).startswith(f"'{argument}' cannot be read from its {place}: put a value that holds")
