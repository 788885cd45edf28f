"""Autoencoders and LoRAs of models of another size: found by the command, from the headers of files."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from jobs.base.errors import BadInput
from jobs.run.run import Run
from tests.model import original_layout
from tests.support import resolved, write_prompts
from tests.tiny_pipelines import WIDTH, picture_vae, save

# Layers of the tiny models, in and out; by diffusers' names and by those of sd-scripts.
FLUX = ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", WIDTH, WIDTH)
SDXL = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("flux", "sdxl"):
        save(name, folder / name)
    picture_vae(16).save_pretrained(folder / "other")
    picture_vae(4).save_pretrained(folder / "same")
    return folder


def begin(models: Path, name: str, *overrides: str) -> Run:
    prompts = write_prompts(models / "prompts.txt", 1)
    model = (f"model={name}", f"model.path={models / name}", "model.dtype=float32", f"model.feature.channels={WIDTH}")
    return resolved(*model, f"prompt_file={prompts}", "height=32", "width=32", "algo=nocache", *overrides)


@pytest.mark.parametrize("file", ["", "/diffusion_pytorch_model.safetensors"])
def test_an_autoencoder_for_other_latents(models: Path, file: str) -> None:
    begin(models, "flux", f"model.vae={models}/same{file}")
    with pytest.raises(BadInput, match=r"^model.vae=.* is for latents of 16 channels, and the model's have 4: give"):
        begin(models, "flux", f"model.vae={models}/other{file}")


def test_so_by_its_authors_names(models: Path, tmp_path: Path) -> None:
    for channels in (4, 16):
        pipeline = DiffusionPipeline.from_pretrained(models / "sdxl")
        pipeline.vae = picture_vae(channels)
        save_file(original_layout.sdxl(pipeline), tmp_path / f"{channels}.safetensors")
    begin(models, "sdxl", f"model.vae={tmp_path}/4.safetensors")
    with pytest.raises(BadInput, match=r"is for latents of 16 channels"):
        begin(models, "sdxl", f"model.vae={tmp_path}/16.safetensors")


def lora(file: Path, layer: str, inputs: int, outputs: int) -> str:
    """Write a LoRA of one layer; return the option that names it."""
    second = layer.replace("lora_A", "lora_B").replace("down.weight", "up.weight")
    save_file({layer: torch.zeros(2, inputs), second: torch.zeros(outputs, 2)}, file)
    return f"model.loras=[{{path: {file}}}]"


def test_a_lora_of_a_smaller_or_larger_model(models: Path, tmp_path: Path) -> None:
    layer, inputs, outputs = FLUX
    begin(models, "flux", lora(tmp_path / "fits.safetensors", *FLUX))
    for factor in (0.5, 2):
        asked = lora(tmp_path / "other.safetensors", layer, int(inputs * factor), int(outputs * factor))
        with pytest.raises(BadInput, match=r"other.safetensors is for a model of another size \(.*: use one made for"):
            begin(models, "flux", asked)


@pytest.mark.parametrize(
    "name",
    [
        f"unet.{SDXL}.lora_A.weight",
        f"unet.{SDXL}.lora.down.weight",
        f"lora_unet_{SDXL.replace('.', '_')}.lora_down.weight",
    ],
)
def test_by_any_of_the_usual_names(models: Path, tmp_path: Path, name: str) -> None:
    unet = DiffusionPipeline.from_pretrained(models / "sdxl").unet
    outputs, inputs = unet.get_submodule(SDXL).weight.shape
    begin(models, "sdxl", lora(tmp_path / "fits.safetensors", name, inputs, outputs))
    with pytest.raises(BadInput, match=rf"attn2.to_k has {inputs + 8} inputs in it, and {inputs} in the model"):
        begin(models, "sdxl", lora(tmp_path / "other.safetensors", name, inputs + 8, outputs))


def test_what_cannot_be_judged_is_left_to_diffusers(models: Path, tmp_path: Path) -> None:
    layer, inputs, outputs = FLUX
    begin(models, "flux", lora(tmp_path / "a.safetensors", "diffusion_model.a.lora_A.weight", 3, 3))
    begin(models, "flux", lora(tmp_path / "b.safetensors", "transformer.x_embedder.lora_A.weight", 2, outputs))
    config = models / "flux/transformer/config.json"
    before = config.read_text()
    config.write_text(json.dumps({**json.loads(before), "quantization_config": {"quant_method": "bitsandbytes"}}))
    try:
        begin(models, "flux", lora(tmp_path / "c.safetensors", layer, 2 * inputs, 2 * outputs))
    finally:
        config.write_text(before)
