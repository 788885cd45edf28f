"""A whole pipeline in one file by its authors' names: the pictures of the directory that has the same weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.base.errors import BadInput
from jobs.model.licences import checkpoint_licence
from jobs.rehearse.rehearsal import rehearse
from jobs.run.run import Run
from tests.model import original_layout
from tests.model.test_loading import begin, picture
from tests.tiny_pipelines import WIDTH, sdxl

COMMIT = "e" * 40
BASE = "stabilityai/stable-diffusion-xl-base-1.0"  # whose configuration diffusers takes for such weights


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SDXL as directory and as file, and its configuration alone; by its encoders' sizes it is known as one."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    pipeline = sdxl(width=2 * WIDTH, layers=10)
    pipeline.save_pretrained(folder / "whole")
    save_file(original_layout.sdxl(pipeline), folder / "sdxl.safetensors")
    shutil.copytree(folder / "whole", folder / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def run_of(models: Path, path: str, *words: str, **more: Any) -> Run:
    return begin(models, "model=sdxl", f"model.path={path}", *words, **more)


def test_a_file_makes_the_pictures_of_the_directory(models: Path, tmp_path: Path) -> None:
    config = f"model.config={models}/config"
    run = run_of(models, f"{models}/sdxl.safetensors", config)
    run.checkpoint.check()
    wanted = picture(run_of(models, f"{models}/whole"))
    assert np.array_equal(picture(run), wanted)
    shutil.copy(models / "sdxl.safetensors", tmp_path / "renamed.safetensors")
    again = run_of(models, f"{tmp_path}/renamed.safetensors", config)
    assert again.identity == run.identity, "wherever it lies and whatever it is called"
    weights = load_file(models / "sdxl.safetensors")
    name = next(name for name in weights if name.endswith("proj_in.weight"))
    save_file({**weights, name: weights[name] + 1}, tmp_path / "trained.safetensors")
    other = run_of(models, f"{tmp_path}/trained.safetensors", config)
    assert other.identity != run.identity and not np.array_equal(picture(other), wanted)
    assert {part.name for part in rehearse(run).parts} == {"unet", "vae", "text_encoder", "text_encoder_2"}
    assert checkpoint_licence(run.checkpoint) is None


@pytest.mark.parametrize("name", ["whole.safetensors", "whole.ckpt"])
def test_a_directory_may_be_called_as_a_file_is(models: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(models / "whole", tmp_path / name)
    run = run_of(models, f"{tmp_path}/{name}")
    run.checkpoint.check()
    assert run.checkpoint.single is None
    assert run.checkpoint.revision == run_of(models, f"{models}/whole").checkpoint.revision


def test_the_configuration_is_looked_for_in_the_cache(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    path = f"{models}/sdxl.safetensors"
    with pytest.raises(BadInput, match=rf"needs the configuration of {BASE}, which is not downloaded: run python -m "
                       rf"jobs.download model.path={path} model.config={BASE} first"):  # fmt: skip
        run_of(models, path).checkpoint.check()
    assert sum(part.parameters for part in rehearse(run_of(models, path)).parts) > 3e9, "of the real SDXL"
    repository = tmp_path / f"models--{BASE.replace('/', '--')}"
    shutil.copytree(models / "config", repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    run = run_of(models, path)
    run.checkpoint.check()
    assert run.identity == run_of(models, path, f"model.config={models}/config").identity


def test_text_encoders_that_are_not_in_the_file_come_from_the_directory(models: Path, tmp_path: Path) -> None:
    weights = load_file(models / "sdxl.safetensors")
    save_file({name: one for name, one in weights.items() if "conditioner" not in name}, tmp_path / "few.safetensors")
    run = run_of(models, f"{tmp_path}/few.safetensors", f"model.config={models}/whole")
    run.checkpoint.check()
    assert np.array_equal(picture(run), picture(run_of(models, f"{models}/whole")))
    with pytest.raises(BadInput, match=r"holds no text_encoder, and .*/config has no weights of it here"):
        run_of(models, f"{tmp_path}/few.safetensors", f"model.config={models}/config").checkpoint.check()


def test_weights_of_another_model_are_refused_when_they_are_read(models: Path, tmp_path: Path) -> None:
    weights = load_file(models / "sdxl.safetensors")
    name = next(name for name in weights if name.endswith("proj_in.weight"))
    del weights[name]
    save_file(weights, tmp_path / "short.safetensors")
    run = run_of(models, f"{tmp_path}/short.safetensors", f"model.config={models}/config")
    with pytest.raises(BadInput, match=r"does not fit StableDiffusionXLPipeline \(it lacks weights\): give one made"):
        picture(run)


@pytest.mark.parametrize(
    ("path", "option", "words"),
    [
        ("a.ckpt", "seed=0", "is a pickle, which can run any code when it is read: give a .safetensors file of it"),
        ("no.safetensors", "seed=0", "is not a file that is there"),
        ("unet.safetensors", "seed=0", "holds no autoencoder, so it is not a whole pipeline: .* model.transformer="),
        ("real.gguf", "seed=0", "holds no autoencoder"),
        ("odd.safetensors", "seed=0", "is of a model that diffusers does not know by its weights: give model.config="),
        ("sdxl.safetensors", "model.config=nowhere", "is neither a pipeline's directory nor a hub id"),
        ("sdxl.safetensors", "model.revision=main", "is for hub ids, and model.path .* is a file: leave it out"),
        ("sdxl.safetensors", "model.variant=fp16", "model.variant is for directories and hub ids"),
        ("sdxl.safetensors", "model.config=WAN", "WanPipeline cannot be read from a single file"),
        ("sdxl.safetensors", "model.config=LIST", "has no readable model_index.json: fetch it again"),
        ("list", "seed=0", "lacks a readable model_index.json: give a whole pipeline's directory"),
        ("whole", "model.config=lab/one", "model.config=lab/one is for single files, and model.path .*/whole is none"),
    ],
)
def test_what_is_no_whole_pipeline_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, option: str, words: str
) -> None:
    save_file({"model.diffusion_model.a": torch.zeros(1)}, tmp_path / "unet.safetensors")
    save_file({"vae.a": torch.zeros(1)}, tmp_path / "odd.safetensors")
    (tmp_path / "real.gguf").write_bytes(b"GGUF")
    for name in ("wan", "list"):
        (tmp_path / name).mkdir()
    (tmp_path / "list/model_index.json").write_text("[1]")
    index = json.loads((models / "config/model_index.json").read_text())
    (tmp_path / "wan/model_index.json").write_text(json.dumps({**index, "_class_name": "WanPipeline"}))
    monkeypatch.setattr("jobs.run.resolve.check_pipeline", lambda *given: None)  # which refuses a clip's class before
    place = models if (models / path).exists() else tmp_path
    more = [f"model.config={models}/config"] if path == "sdxl.safetensors" and "config" not in option else []
    with pytest.raises(BadInput, match=words):
        run_of(
            models,
            f"{place}/{path}",
            option.replace("WAN", f"{tmp_path}/wan").replace("LIST", f"{tmp_path}/list"),
            *more,
        ).checkpoint.check()
