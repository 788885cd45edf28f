"""Models as people have them: variants of weights, LoRAs, attention backends and ways to compile."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, WanPipeline
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import distributed

from jobs.base.errors import BadInput
from jobs.model import load
from jobs.model.checkpoint import find_checkpoint
from jobs.model.load import load_pipeline
from jobs.model.provenance import provenance
from jobs.options.degrees import Degrees
from jobs.parallel.text import SharedText
from jobs.run.run import Run
from tests.support import PROJECT, resolved, write_prompts
from tests.tiny_pipelines import WIDTH, save


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What a worker sets for its whole process is taken back for the tests that follow in this one."""
    backend = _AttentionBackendRegistry._active_backend
    dynamo = torch._dynamo.config
    before = (dynamo.recompile_limit, dynamo.accumulated_recompile_limit)
    yield
    _AttentionBackendRegistry.set_active_backend(backend)
    dynamo.recompile_limit, dynamo.accumulated_recompile_limit = before


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux")
    save("flux", folder)
    return folder


@pytest.fixture(scope="module")
def style(flux: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the tiny FLUX, random and strong."""
    folder = tmp_path_factory.mktemp("style")
    pipeline = FluxPipeline.from_pretrained(flux)
    torch.manual_seed(1)
    pipeline.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    FluxPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer))
    return folder / "pytorch_lora_weights.safetensors"


def begin(weights: Path, *overrides: str, steps: int = 3) -> Run:
    prompts = write_prompts(weights.parent / "prompts.txt", 1)
    sizes = ("height=32", "width=32", f"num_inference_steps={steps}")
    model = ("model=flux", f"model.path={weights}", "model.dtype=float32", f"model.feature.channels={WIDTH}")
    return resolved(*model, f"prompt_file={prompts}", *sizes, "algo=nocache", *overrides)


def picture(run: Run) -> np.ndarray:
    pipeline = load_pipeline(run.options.model, run.forecast, run.checkpoint, device="cpu")
    (made,) = pipeline([run.layout.sample(0)])
    return made.media


def test_a_lora_changes_pictures_by_its_scale(flux: Path, style: Path) -> None:
    runs = {scale: begin(flux, f"model.loras=[{{path: {style}, scale: {scale}}}]") for scale in (0, 0.5, 1)}
    plain, none, half, whole = (picture(run) for run in (begin(flux), *runs.values()))
    assert np.array_equal(plain, none)
    assert not np.array_equal(plain, half) and not np.array_equal(half, whole)
    assert len({json.dumps(run.identity) for run in (begin(flux), *runs.values())}) == 4
    pipeline = load_pipeline(runs[1].options.model, None, runs[1].checkpoint, device="cpu").pipeline
    (said,) = json.loads(provenance(runs[1].options.model, runs[1].checkpoint, pipeline)["loras"])
    assert said["file"] == style.name and said["scale"] == 1 and len(said["sha256"]) == 64


def test_only_rank_0_has_text_encoders(flux: Path, style: Path) -> None:
    """Not even to begin with, but for LoRAs, which may be for them."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        for rank, lora in ((0, ""), (1, ""), (1, str(style))):
            run = begin(flux, *([f"model.loras=[{{path: {lora}}}]"] if lora else []))
            group = SimpleNamespace(rank=rank, size=1, device="cpu")
            batches = load_pipeline(
                run.options.model, None, run.checkpoint, device="cpu", degrees=Degrees(), group=group
            )
            loaded = batches.pipeline
            assert (batches.embeddings is None) == (rank == 1)
            assert isinstance(loaded.encode_prompt.__self__, SharedText), (
                "what ranks say to each other, all of them say"
            )
            batches.encode([run.layout.batches(0)[0]])  # alone, rank 0 would wait for the others
            assert batches.embeddings is None or not batches.embeddings.encoded
            assert loaded.transformer and loaded.tokenizer and loaded.tokenizer_2
            assert (loaded.text_encoder is None) == (loaded.text_encoder_2 is None) == (rank == 1)
    finally:
        distributed.destroy_process_group()


def test_a_fused_lora_leaves_no_layer_behind(flux: Path, style: Path) -> None:
    asked = f"model.loras=[{{path: {style}}}]"
    run = begin(flux, asked, "model.fuse_loras=true")
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu").pipeline
    assert not any("lora" in name for name, _ in pipeline.transformer.named_parameters())
    assert np.abs(picture(run).astype(int) - picture(begin(flux, asked))).max() <= 2
    assert run.identity != begin(flux, asked).identity


@pytest.mark.slow
def test_parts_are_quantised_and_forecast(flux: Path) -> None:
    """In a process of its own, which alone sees torchao (tools/setup.sh puts it aside)."""
    aside = Path(sys.prefix) / "aside"
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.quantised", str(flux)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(aside), str(PROJECT)])},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["weight"] == "Int8Tensor"
    assert found["evaluated"] < found["steps"]
    assert found["said"] == {"transformer": "int8", "text_encoder_2": "float8", "torchao": found["torchao"]}
    assert found["identity"] != found["plain_identity"]
    assert found["differs"]


PARTS = {0.5: "transformer", 2: "transformer_2"}  # scale of a LoRA -> what it is for


@pytest.fixture(scope="module")
def wan22(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Wan2.2: Wan with a second denoiser, and of each a LoRA of its own."""
    folder = tmp_path_factory.mktemp("wan") / "model"
    save("wan14b", folder)
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"transformer_2": index["transformer"], "boundary_ratio": 0.9}
    (folder / "model_index.json").write_text(json.dumps(index))
    pipeline = WanPipeline.from_pretrained(folder)
    torch.manual_seed(1)
    pipeline.transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], init_lora_weights=False))
    layers = get_peft_model_state_dict(pipeline.transformer)
    WanPipeline.save_lora_weights(folder.parent, transformer_lora_layers=layers)
    return folder


def test_each_of_two_denoisers_gets_the_lora_that_is_for_it(wan22: Path) -> None:
    file = wan22.parent / "pytorch_lora_weights.safetensors"

    first, second = (f"path: {file}, scale: {scale}, into: {part}" for scale, part in PARTS.items())

    def begun(loras: str, *more: str) -> Run:
        return begin(wan22, "model=wan14b", "num_frames=5", f"model.loras=[{loras}]", *more)

    def scales(*loras: str) -> list[list[float]]:
        run = begun(", ".join(f"{{{one}}}" for one in loras))
        pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu").pipeline
        modules = [getattr(pipeline, part).modules() for part in PARTS.values()]
        return [sorted({scale for one in each for scale in getattr(one, "scaling", {}).values()}) for each in modules]

    assert (scales(first), scales(second), scales(first, second)) == ([[0.5], []], [[], [2.0]], [[0.5], [2.0]])
    run = begun(f"{{{first}}}, {{{second}}}", "model.fuse_loras=true")
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu").pipeline
    weights = [getattr(pipeline, part).blocks[0].attn1.to_q.weight for part in PARTS.values()]
    plain = WanPipeline.from_pretrained(wan22).transformer.blocks[0].attn1.to_q.weight
    torch.testing.assert_close(weights[1] - plain, 4 * (weights[0] - plain))


def test_the_denoiser_of_a_lora_is_asked_for(wan22: Path) -> None:
    file = wan22.parent / "pytorch_lora_weights.safetensors"
    for said, words in (
        (f"path: {file}", r"say which denoiser .* is for, with into: transformer or into: transformer_2"),
        (f"path: {file}, into: unet", "to go into unet, and the model's denoisers are transformer and transformer_2"),
    ):
        with pytest.raises(BadInput, match=words):
            begin(wan22, "model=wan14b", "num_frames=5", f"model.loras=[{{{said}}}]")


def test_a_lora_of_another_model_is_refused(flux: Path, style: Path, tmp_path: Path) -> None:
    save("sdxl", tmp_path / "sdxl")
    with pytest.raises(BadInput, match="is for a transformer, and the model has a unet: use one made for it"):
        begin(tmp_path / "sdxl", "model=sdxl", f"model.loras=[{{path: {style}}}]")
    weights = {key.replace("transformer.", "unet.", 1): weight for key, weight in load_file(style).items()}
    save_file(weights, tmp_path / "unet.safetensors")  # of layers that it does not have
    run = begin(tmp_path / "sdxl", "model=sdxl", f"model.loras=[{{path: {tmp_path}/unet.safetensors}}]")
    with pytest.raises(BadInput, match="does not fit the model"):
        picture(run)


def test_a_lora_that_fits_in_part_is_refused(flux: Path, style: Path, tmp_path: Path) -> None:
    weights = load_file(style)
    block = next(key for key in weights if ".to_q.lora_A" in key)
    for key in (block, block.replace("lora_A", "lora_B")):  # of a layer that the model does not have
        weights[re.sub(r"blocks\.\d+\.", "blocks.9.", key)] = weights[key].clone()
    save_file(weights, tmp_path / "part.safetensors")
    layers = sum("lora_A" in key for key in weights)
    with pytest.raises(BadInput, match=rf"\(of its {layers} layers the model has {layers - 1}\): use one made for it"):
        picture(begin(flux, f"model.loras=[{{path: {tmp_path}/part.safetensors}}]"))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("model.loras=style.safetensors", "must be a list like"),
        ("model.loras=[style.safetensors]", "must be a list like"),
        ("model.loras=[{file: a}]", "must be a list like"),
        ("model.loras=[{path: /no/such.safetensors}]", "is not a .safetensors file that is there"),
        ("model.loras=[{path: STYLE, scale: strong}]", "the scale of .* must be a number"),
        ("model.attention=fast", "model.attention=fast is not known: choose one of .*native"),
        ("model.attention=sage", "model.attention=sage cannot be used here"),
        ("model.compile=true", "model.compile must be one of none, blocks, whole, max-autotune"),
        ("model.quantization=int8", "must be a mapping like"),
        ("model.quantization={unet: int8}", "has no unet; its networks are text_encoder, text_encoder_2, transformer"),
        ("model.quantization={transformer: int3}", "transformer=int3 is not known: choose one of int8"),
        ("model.quantization={transformer: bnb-4bit}", "needs bitsandbytes: pip install bitsandbytes"),
        ("model.quantization={transformer: int8}", "needs torchao: pip install torchao"),
        ("model.variant=fp16", "lacks weights of the variant fp16: .*use model.variant=null, which is there"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before(
    flux: Path, style: Path, monkeypatch: pytest.MonkeyPatch, option: str, words: str
) -> None:
    monkeypatch.setattr("jobs.model.quantization.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=words):
        begin(flux, option.replace("STYLE", str(style))).checkpoint.check()


def test_a_backend_that_a_denoiser_would_not_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save("sdxl", tmp_path / "sdxl")
    monkeypatch.setattr("jobs.parallel.diffusers_private.require_attention_backend", lambda name: None)
    with pytest.raises(BadInput, match="has no effect on UNet2DConditionModel"):
        begin(tmp_path / "sdxl", "model=sdxl", "model.attention=flash")


@pytest.mark.parametrize(
    ("backend", "more", "words"),
    [
        ("_native_flash", (), "takes no masks, and HunyuanVideo masks the padding of texts: add model.drop_padding"),
        ("sage", ("model.drop_padding=true", "batch_size=2"), "of different lengths .* use batch_size=1"),
        ("flash", ("model.drop_padding=true", "parallel.ulysses=2"), "where parallel.ulysses=2 does not divide"),
        ("_flash_3", ("model.drop_padding=true",), ""),
        ("native", ("batch_size=2",), ""),
        ("flash_varlen", ("batch_size=2",), ""),
    ],
)
def test_a_backend_that_takes_no_masks_is_refused_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, more: tuple[str, ...], words: str
) -> None:
    save("hunyuan", tmp_path / "hunyuan")
    monkeypatch.setattr("jobs.parallel.diffusers_private.require_attention_backend", lambda name: None)
    small = ("model=hunyuan", "height=64", "width=64", "num_frames=5", f"model.attention={backend}", *more)
    if not words:
        begin(tmp_path / "hunyuan", *small)
        return
    with pytest.raises(BadInput, match=words):
        begin(tmp_path / "hunyuan", *small)


def test_a_backend_is_used_and_recorded(flux: Path) -> None:
    run = begin(flux, "model.attention=_native_math")
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu").pipeline
    used = {block.attn.processor._attention_backend.value for block in pipeline.transformer.transformer_blocks}
    assert used == {"_native_math"}
    assert run.identity["model"]["attention"] == "_native_math"
    from jobs.parallel.diffusers_private import attention_backend

    assert attention_backend() == "_native_math"


@pytest.mark.slow
def test_the_whole_denoiser_compiles_where_nothing_reaches_into_it(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def compiled(module, **settings):
        modes.append(settings.get("mode"))
        return plain(module, backend="eager", dynamic=settings["dynamic"])

    plain = functools.partial(torch.nn.Module.compile)
    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    output = ("algo=spectrum", "algo.target=output", "warmup_steps=2")
    wanted = picture(begin(flux, *output, steps=6))
    assert np.array_equal(picture(begin(flux, *output, "model.compile=whole", steps=6)), wanted)
    picture(begin(flux, "model.compile=max-autotune"))
    assert modes == [None, "max-autotune"]
    with pytest.raises(BadInput, match=r"algo.target=output or algo=nocache, or model.compile=blocks"):
        begin(flux, "algo=spectrum", "model.compile=whole")


def test_an_autoencoder_decodes_in_a_dtype_of_its_own(tmp_path: Path) -> None:
    save("sdxl", tmp_path / "sdxl")
    run, narrow = (
        begin(tmp_path / "sdxl", "model=sdxl", "model.dtype=bfloat16", *more)
        for more in (["model.vae_dtype=float32"], [])
    )
    loaded = load_pipeline(run.options.model, None, run.checkpoint, device="cpu")
    assert {part.dtype for part in (loaded.pipeline.unet, loaded.pipeline.text_encoder)} == {torch.bfloat16}
    given: list[torch.Tensor] = []
    loaded.pipeline.vae.post_quant_conv.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    (made,) = loaded([run.layout.sample(0)])
    (latents,) = given
    assert torch.equal(latents.bfloat16().float(), latents), "the denoiser's own"
    vae = AutoencoderKL.from_pretrained(tmp_path / "sdxl/vae")
    with torch.no_grad():
        wanted = vae.decode(latents).sample[0]
    pixels = ((wanted / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).to(torch.uint8)
    assert np.array_equal(made.media, pixels.numpy())
    assert not np.array_equal(made.media, picture(narrow)) and run.identity != narrow.identity


@pytest.mark.parametrize("name", ["flux", "sd3-5"])
def test_every_pipeline_of_pictures_takes_another_dtype_for_its_autoencoder(tmp_path: Path, name: str) -> None:
    save(name, tmp_path / name)
    asked = (f"model={name}", "model.dtype=bfloat16", "model.vae_dtype=float32", "model.vae_tiling=true")
    assert picture(begin(tmp_path / name, *asked)).shape == (32, 32, 3)


def as_variant(folder: Path, variant: str, parts: tuple[str, ...]) -> None:
    """Rename weights of some parts as a repository names them that has several variants."""
    for file in (file for part in parts for file in (folder / part).glob("*.safetensors")):
        file.rename(file.with_name(f"{file.stem}.{variant}.safetensors"))


@pytest.mark.parametrize("parts", [("transformer", "text_encoder", "text_encoder_2", "vae"), ("transformer",)])
def test_a_variant_is_loaded_where_it_is(tmp_path: Path, parts: tuple[str, ...]) -> None:
    save("flux", tmp_path / "flux")
    wanted = picture(begin(tmp_path / "flux"))
    as_variant(tmp_path / "flux", "fp16", parts)
    run = begin(tmp_path / "flux", "model.variant=fp16")
    run.checkpoint.check()
    assert np.array_equal(picture(run), wanted)
    with pytest.raises(BadInput, match=r"lacks the weights in \w+: .*use model.variant=fp16, which is there"):
        begin(tmp_path / "flux").checkpoint.check()


def test_a_download_names_the_variant(flux: Path) -> None:
    checkpoint = find_checkpoint("lab/none", None, "fp16")
    assert checkpoint.download_command == "python -m jobs.download model.path=lab/none model.variant=fp16"


@pytest.mark.slow
def test_compiling_leaves_no_choice_of_kernels_to_timing(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def compile_fx(graph: Any, inputs: Any, *, config_patches: dict[str, Any], **more: Any) -> Any:
        with torch._inductor.config.patch(config_patches):
            seen.append(torch._inductor.config.deterministic)
        return graph.forward

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", compile_fx)
    run = begin(flux, "model.compile=whole")
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu")
    for count in (2, 1):  # the second shape is compiled for after the first one was
        pipeline([run.layout.sample(0)] * count)
    assert len(seen) > 1 and all(seen)
    assert torch._dynamo.config.accumulated_recompile_limit >= torch._dynamo.config.recompile_limit == 1000


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What diffusers is asked to load pipelines with; they stay in main memory, since there is no GPU here."""
    asked: list[dict[str, Any]] = []
    original = diffusers.DiffusionPipeline.from_pretrained

    def from_pretrained(folder: Path, **more: Any) -> Any:
        asked.append(more)
        return original(folder, **{**more, "device_map": None})

    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", from_pretrained)
    return asked


def test_a_worker_on_a_further_gpu_makes_it_its_own(
    flux: Path, loads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    monkeypatch.setattr(FluxPipeline, "to", lambda self, device: asked.append(device))
    run = begin(flux)
    load_pipeline(run.options.model, None, run.checkpoint, device="cuda:1")
    assert asked[0] == "cuda:1" and set(asked[1:]) == {"cuda:1"}
    assert [one["device_map"] for one in loads] == ["cuda"], "that is the current one"


def test_weights_are_read_straight_onto_the_device_unless_they_change_on_the_way(
    flux: Path, loads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(flux)
    model = run.options.model
    monkeypatch.setattr(load, "quantization_config", lambda *_: None)  # its libraries are not in this process
    for one, place in ((model, "cuda"), (replace(model, quantization={"transformer": "int8"}), "cuda"), (model, None)):
        load.read_weights(one, run.checkpoint, device=place)
    assert [one.get("device_map") for one in loads] == ["cuda", None, None]
    monkeypatch.setattr(load, "_place", lambda *_: None)  # there is no GPU to fetch parts to
    load_pipeline(replace(model, offload="model"), None, run.checkpoint, device="cuda:0")
    assert "device_map" not in loads[-1]
