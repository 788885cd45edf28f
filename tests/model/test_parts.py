"""Parts of a pipeline from elsewhere: the pictures of the same weights in the pipeline's own folder."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel
from safetensors.torch import load_file, save_file

from jobs.base.errors import BadInput
from jobs.model.load import load_pipeline
from jobs.model.provenance import provenance
from jobs.model.weights import weight_bytes
from jobs.rehearse.rehearsal import rehearse
from tests.model import original_layout
from tests.model.test_loading import begin, picture
from tests.tiny_pipelines import WIDTH, save


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLUX and a tiny SD3.5, and of each other weights for its denoiser or autoencoder."""
    folder = tmp_path_factory.mktemp("models")
    save("flux", folder / "flux")
    save("sd3-5", folder / "sd3-5")
    torch.manual_seed(1)
    FluxTransformer2DModel.from_config(FluxTransformer2DModel.load_config(folder / "flux/transformer")).save_pretrained(
        folder / "other"
    )
    SD3Transformer2DModel.from_config(SD3Transformer2DModel.load_config(folder / "sd3-5/transformer")).save_pretrained(
        folder / "other-sd3"
    )
    AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "flux/vae")).save_pretrained(folder / "vae")
    return folder


def with_part(folders: Path, model: str, part: str, place: Path, tmp_path: Path) -> Path:
    """Return a copy of a model with the weights of a folder as one of its parts."""
    shutil.copytree(folders / model, tmp_path / model)
    shutil.rmtree(tmp_path / model / part)
    shutil.copytree(place, tmp_path / model / part)
    return tmp_path / model


def test_an_autoencoder_from_elsewhere_makes_its_pictures(folders: Path, tmp_path: Path) -> None:
    run = begin(folders / "flux", f"model.vae={folders}/vae")
    run.checkpoint.check()
    wanted = picture(begin(with_part(folders, "flux", "vae", folders / "vae", tmp_path)))
    assert np.array_equal(picture(run), wanted)
    assert not np.array_equal(picture(begin(folders / "flux")), wanted)
    plain = begin(folders / "flux").identity["model"]["revision"]
    assert run.identity["model"]["revision"].startswith(f"{plain} vae=")
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu").pipeline
    said = provenance(run.options.model, run.checkpoint, pipeline)["revision"]
    assert said == run.identity["model"]["revision"]


@pytest.mark.parametrize("name", ["vae.safetensors", "vae.gguf", "vae.ckpt"])
def test_a_folder_may_be_called_as_a_file_is(folders: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folders / "vae", tmp_path / name)
    run = begin(folders / "flux", f"model.vae={tmp_path}/{name}")
    run.checkpoint.check()
    assert run.identity == begin(folders / "flux", f"model.vae={folders}/vae").identity
    (part,) = run.checkpoint.parts
    assert not part.is_file and not part.quantised


def test_a_gguf_file_makes_the_pictures_of_its_weights(folders: Path, tmp_path: Path) -> None:
    file = tmp_path / "flux-Q8_0.gguf"
    kept = original_layout.write_gguf(load_file(folders / "other/diffusion_pytorch_model.safetensors"), file)
    shutil.copytree(folders / "other", tmp_path / "other")
    save_file(kept, tmp_path / "other/diffusion_pytorch_model.safetensors")
    run = begin(folders / "flux", f"model.transformer={file}", "algo=spectrum", "warmup_steps=2", steps=5)
    loaded = load_pipeline(run.options.model, run.forecast, run.checkpoint, device="cpu")
    weight = loaded.pipeline.transformer.transformer_blocks[0].attn.to_q.weight
    assert type(weight).__name__ == "GGUFParameter"
    (made,) = loaded([run.layout.sample(0)])
    assert loaded.spectrum.statistics.evaluated_steps < 5
    same = begin(folders / "flux", f"model.transformer={tmp_path}/other", "algo=spectrum", "warmup_steps=2", steps=5)
    spectrum = load_pipeline(same.options.model, same.forecast, same.checkpoint, device="cpu")
    (wanted,) = spectrum([same.layout.sample(0)])
    assert np.array_equal(made.media, wanted.media)
    assert run.identity["model"]["revision"] != same.identity["model"]["revision"]
    assert next(part.bytes for part in rehearse(run).parts if part.name == "transformer") == file.stat().st_size
    assert weight_bytes(same.checkpoint) - weight_bytes(run.checkpoint) > 0


def test_a_lora_goes_on_top_of_a_gguf_file(folders: Path, tmp_path: Path) -> None:
    weights = load_file(folders / "flux/transformer/diffusion_pytorch_model.safetensors")
    original_layout.write_gguf(weights, tmp_path / "flux.gguf")
    torch.manual_seed(2)
    layer = "transformer.transformer_blocks.0.ff.net.2"
    pair = {f"{layer}.lora_A.weight": torch.randn(2, 4 * WIDTH), f"{layer}.lora_B.weight": torch.randn(WIDTH, 2)}
    save_file(pair, tmp_path / "style.safetensors")
    lora = f"model.loras=[{{path: {tmp_path}/style.safetensors}}]"
    few = f"model.transformer={tmp_path}/flux.gguf"
    plain, styled, wanted = (
        picture(begin(folders / "flux", *options)).astype(int) for options in ([few], [few, lora], [lora])
    )
    assert np.abs(styled - wanted).mean() < np.abs(styled - plain).mean() / 4, "the LoRA's change, by other weights"


def test_a_file_by_its_authors_names_makes_the_same_pictures(folders: Path, tmp_path: Path) -> None:
    weights = original_layout.sd3(SD3Transformer2DModel.from_pretrained(folders / "other-sd3"))
    save_file(weights, tmp_path / "sd3.safetensors")
    kept = original_layout.write_gguf(weights, tmp_path / "sd3.gguf")
    save_file(kept, tmp_path / "kept.safetensors")
    (folder := tmp_path / "moved").mkdir()
    shutil.copy(tmp_path / "sd3.safetensors", folder / "renamed.safetensors")
    wanted = begin(folders / "sd3-5", "model=sd3-5", f"model.transformer={folders}/other-sd3")
    run = begin(folders / "sd3-5", "model=sd3-5", f"model.transformer={tmp_path}/sd3.safetensors")
    assert np.array_equal(picture(run), picture(wanted))
    again = begin(folders / "sd3-5", "model=sd3-5", f"model.transformer={folder}/renamed.safetensors")
    assert again.identity == run.identity, "wherever it lies and whatever it is called"
    few, same = (
        begin(folders / "sd3-5", "model=sd3-5", f"model.transformer={tmp_path}/{file}")
        for file in ("sd3.gguf", "kept.safetensors")
    )
    assert np.array_equal(picture(few), picture(same)) and not np.array_equal(picture(few), picture(run))


def test_the_own_weights_of_a_part_from_elsewhere_need_not_be_there(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "flux", tmp_path / "flux")
    (tmp_path / "flux/transformer/diffusion_pytorch_model.safetensors").unlink()
    run = begin(tmp_path / "flux", f"model.transformer={folders}/other")
    run.checkpoint.check()
    assert np.array_equal(picture(run), picture(begin(folders / "flux", f"model.transformer={folders}/other")))
    (tmp_path / "flux/transformer/config.json").unlink()
    with pytest.raises(BadInput, match=r"lacks a readable transformer/config.json"):
        begin(tmp_path / "flux", f"model.transformer={folders}/other").checkpoint.check()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    save_file({"a": torch.zeros(8)}, tmp_path / "a.safetensors")
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-1])
    (tmp_path / "text.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    for name, entry in {
        "number": 1,
        "sizeless": {"dtype": "F32", "shape": [1]},
        "text": {"data_offsets": "12"},
    }.items():
        header = json.dumps({"a": entry}).encode()
        (tmp_path / f"{name}-entry.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "text.gguf").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "other.gguf").write_text("something else")
    (tmp_path / "real.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty").mkdir()
    yield tmp_path


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("model.vae=DIR/no.safetensors", "is not a file that is there"),
        ("model.vae=DIR/vae.ckpt", "is a pickle, which can run any code"),
        ("model.vae=DIR/text.safetensors", "is a pointer of Git LFS, not the weights: run git lfs pull"),
        ("model.vae=DIR/number-entry.safetensors", "is not a safetensors file: fetch it again"),
        ("model.vae=DIR/sizeless-entry.safetensors", "is not a safetensors file: fetch it again"),
        ("model.vae=DIR/text-entry.safetensors", "is not a safetensors file: fetch it again"),
        ("model.vae=DIR/short.safetensors", "has .* bytes where its header says"),
        ("model.vae=DIR/empty", "has no config.json"),
        ("model.vae=DIR/none", "is neither a file, a directory nor a hub id"),
        ("model.vae=lab/none", "is not downloaded: run python -m jobs.download .* model.vae=lab/none first"),
        ("model.vae=MODELS/other", "is a FluxTransformer2DModel, and the model's is a AutoencoderKL"),
        ("model.vae=DIR/real.gguf", "GGUF files are for denoisers"),
        ("model.transformer=DIR/text.gguf", "is a pointer of Git LFS, not the weights: run git lfs pull"),
        ("model.transformer=DIR/other.gguf", "is not a GGUF file: fetch it again"),
        ("model.transformer_2=DIR/real.gguf", "the model has no transformer_2; it has vae and transformer"),
        ("model.transformer=DIR/real.gguf", "needs gguf, which is not installed: pip install 'gguf"),
    ],
)
def test_what_is_no_such_part_is_refused(
    folders: Path, files: Path, monkeypatch: pytest.MonkeyPatch, option: str, words: str
) -> None:
    monkeypatch.setattr("jobs.model.parts.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=words):
        begin(folders / "flux", option.replace("DIR", str(files)).replace("MODELS", str(folders))).checkpoint.check()


def test_a_torn_file_is_refused_before_anything_starts(folders: Path, files: Path) -> None:
    weights = load_file(folders / "flux/transformer/diffusion_pytorch_model.safetensors")
    original_layout.write_gguf(weights, files / "whole.gguf")
    whole = (files / "whole.gguf").read_bytes()
    begin(folders / "flux", f"model.transformer={files}/whole.gguf").checkpoint.check()
    for length in (4, 8, 20, 30, 200, len(whole) // 2, len(whole) - 1):
        (files / "torn.gguf").write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"^model.transformer /.*/torn.gguf is not a whole GGUF file: fetch it"):
            begin(folders / "flux", f"model.transformer={files}/torn.gguf")
    for name, words in (("text", "is a pointer of Git LFS"), ("short", "has .* bytes where its header says")):
        with pytest.raises(BadInput, match=f"^model.loras: /.*/{name}.safetensors {words}"):
            begin(folders / "flux", f"model.loras=[{{path: {files}/{name}.safetensors}}]")


def test_a_file_of_other_weights_is_refused_in_a_sentence(folders: Path, files: Path) -> None:
    with pytest.raises(BadInput, match=r"model.vae=/.*/a.safetensors does not fit AutoencoderKL .*: give one made for"):
        picture(begin(folders / "flux", f"model.vae={files}/a.safetensors"))


def test_options_that_contradict_a_part_are_refused(
    folders: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.model.quantization.find_spec", lambda name: True)
    part = f"model.transformer={files}/real.gguf"
    lora = f"model.loras=[{{path: {files}/a.safetensors}}]"
    with pytest.raises(BadInput, match=r"leave model.fuse_loras out"):
        begin(folders / "flux", part, lora, "model.fuse_loras=true")
    with pytest.raises(BadInput, match=r"leave transformer out of model.quantization"):
        begin(folders / "flux", part, "model.quantization={transformer: bnb-4bit}")


def test_a_file_of_another_model_is_refused_when_it_is_read(folders: Path, tmp_path: Path) -> None:
    save_file(
        original_layout.sd3(SD3Transformer2DModel.from_pretrained(folders / "other-sd3")), tmp_path / "sd3.safetensors"
    )
    with pytest.raises(BadInput, match=r"sd3.safetensors does not fit FluxTransformer2DModel"):
        picture(begin(folders / "flux", f"model.transformer={tmp_path}/sd3.safetensors"))
    weights = load_file(folders / "other/diffusion_pytorch_model.safetensors")
    save_file({**weights, "proj_out.weight": weights["proj_out.weight"][1:].clone()}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match=r"other.safetensors does not fit FluxTransformer2DModel"):
        picture(begin(folders / "flux", f"model.transformer={tmp_path}/other.safetensors"))


def test_the_json_files_of_a_part_are_its_own(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "vae", tmp_path / "vae")
    config = json.loads((tmp_path / "vae/config.json").read_text())
    (tmp_path / "vae/config.json").write_text(json.dumps({**config, "scaling_factor": 0.8}))
    one, other = (begin(folders / "flux", f"model.vae={place}/vae") for place in (folders, tmp_path))
    assert one.identity != other.identity and not np.array_equal(picture(one), picture(other))
