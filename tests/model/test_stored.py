"""Weights of a directory that are not whole: found by the command, before a worker reads them."""

import shutil
from pathlib import Path

import pytest
from diffusers import AutoencoderKL

from jobs.base.errors import BadInput
from jobs.run.run import Run
from tests.support import resolved, write_prompts
from tests.tiny_pipelines import WIDTH, save

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 45060\n"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux")
    save("flux", folder)
    return folder


@pytest.fixture
def flux(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "flux"))


def begin(weights: Path, *overrides: str) -> Run:
    prompts = write_prompts(weights.parent / "prompts.txt", 1)
    model = ("model=flux", f"model.path={weights}", "model.dtype=float32", f"model.feature.channels={WIDTH}")
    return resolved(*model, f"prompt_file={prompts}", "height=32", "width=32", "algo=nocache", *overrides)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a safetensors file: fetch it again"),
        (POINTER, "is a pointer of Git LFS, not the weights: run git lfs pull where it lies"),
        (None, "has .* bytes where its header says .*: fetch it again"),
    ],
)
@pytest.mark.parametrize("file", [VAE, "text_encoder_2/model.safetensors"])
def test_a_file_that_is_not_whole_is_named(flux: Path, file: str, content: bytes | None, words: str) -> None:
    begin(flux).checkpoint.check()
    (flux / file).write_bytes((flux / file).read_bytes()[:-1] if content is None else content)
    with pytest.raises(BadInput, match=f"^model.path {flux / file} {words}$"):
        begin(flux).checkpoint.check()


@pytest.mark.parametrize("content", [b"", POINTER])
def test_so_is_a_pickle_that_holds_nothing(flux: Path, content: bytes) -> None:
    (flux / VAE).unlink()
    (flux / "vae/diffusion_pytorch_model.bin").write_bytes(content)
    with pytest.raises(BadInput, match=r"vae/diffusion_pytorch_model.bin holds no weights: fetch it again"):
        begin(flux).checkpoint.check()


def test_what_is_not_loaded_is_not_looked_at(flux: Path) -> None:
    (flux / "vae/diffusion_pytorch_model.bin").write_bytes(b"")
    (flux / "vae/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")
    (flux / "vae/flux1-vae.safetensors").write_bytes(POINTER)
    begin(flux).checkpoint.check()
    with pytest.raises(BadInput, match=r"fp16.safetensors is not a safetensors file"):
        begin(flux, "model.variant=fp16").checkpoint.check()


def test_a_link_that_leads_nowhere_is_named(flux: Path) -> None:
    (flux / VAE).unlink()
    (flux / VAE).symlink_to("../../blobs/0")
    with pytest.raises(BadInput, match=f"^{flux / VAE} is a link to a file that is not there: .* with cp -rL$"):
        begin(flux)
    with pytest.raises(BadInput, match=f"^{flux / VAE} is a link to a file that is not there"):
        begin(flux, f"model.vae={flux}/vae")


def in_several_files(flux: Path, folder: Path) -> list[Path]:
    vae = AutoencoderKL.from_pretrained(flux / "vae")
    vae.save_pretrained(folder, max_shard_size="20KB")
    return sorted(folder.glob("*-of-*.safetensors"))


def test_a_part_in_several_files_is_whole_or_refused(flux: Path, tmp_path: Path) -> None:
    first, second, *_ = in_several_files(flux, tmp_path / "vae")
    begin(flux, f"model.vae={tmp_path}/vae").checkpoint.check()
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(BadInput, match=f"^model.vae {first} has .* bytes where its header says"):
        begin(flux, f"model.vae={tmp_path}/vae").checkpoint.check()
    second.unlink()
    with pytest.raises(BadInput, match=f"^model.vae=.* lacks vae/{second.name}: give a whole folder of it$"):
        begin(flux, f"model.vae={tmp_path}/vae").checkpoint.check()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("diffusion_pytorch_model.fp16.safetensors", "the weights in vae"),
        ("diffusion_pytorch_model.bin", "safetensors in vae"),
    ],
)
def test_a_part_without_plain_safetensors_is_not_told_to_be_downloaded(flux: Path, name: str, words: str) -> None:
    (flux / VAE).rename(flux / "vae" / name)
    with pytest.raises(BadInput, match=f"lacks {words}: give a whole folder of it$"):
        begin(flux, f"model.vae={flux}/vae").checkpoint.check()
