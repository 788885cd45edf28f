"""A sample's json is true and enough: plain diffusers makes the same sample from it and the checkpoint alone."""

import dataclasses
import json
import tarfile
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from datasets import load_dataset

from jobs.execute.worker import generate_shards
from jobs.model import demo
from jobs.model.environment import environment
from jobs.model.pipeline import BatchPipeline
from jobs.regenerate.__main__ import main as regenerate
from jobs.run.run import Run
from tests.support import new_run
from tests.tiny_pipelines import PIPELINES, WIDTH, save

CLIPS = ("hunyuan", "wan14b")
ENCODERS = [("text_encoder", 5, 16), ("text_encoder_2", 4, 16)]
MIXED = (
    "prompt,num_inference_steps,height,width,guidance_scale,seed,Category\n"
    "a red circle,28,64,64,2,5,x\na blue star,9,64,96,2,,y\na green cross,6,96,64,1,7,z\na red circle,28,64,64,2,9,x\n"
)


def make(run: Run) -> dict[str, dict[str, bytes]]:
    """Make the whole run in this process; key -> members of its tars."""
    generate_shards(run, run.unfinished(), device="cpu", log_path="log", report=lambda *_: None)
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(run.directory.data.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                found.setdefault(key, {})[extension] = archive.extractfile(member).read()  # type: ignore[union-attr]
    return found


def infos(samples: dict[str, dict[str, bytes]]) -> list[dict[str, Any]]:
    return [json.loads(members["json"]) for members in samples.values()]


def demo_run(folder: Path, *overrides: str) -> Run:
    folder.mkdir(exist_ok=True)
    (folder / "p.csv").write_text(MIXED)
    return new_run(folder, f"prompt_file={folder}/p.csv", *overrides)


def by_plain_diffusers(info: dict[str, Any], folder: Path) -> np.ndarray:
    """Pixels of a sample, from its json and its checkpoint's directory; nothing of this project takes part."""
    dtypes = {"default": getattr(torch, info["dtype"]), "vae": getattr(torch, info["vae_dtype"])}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=dtypes)
    assert type(pipeline).__name__ == info["pipeline"]
    pipeline.scheduler = getattr(diffusers, info["scheduler"]).from_config(json.loads(info["scheduler_config"]))
    if info["vae_tiling"]:
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
    pipeline.set_progress_bar_config(disable=True)
    torch.set_num_threads(info["environment"]["cpu_threads"])
    result = pipeline(
        prompt=[info["prompt"]],
        generator=[torch.Generator("cpu").manual_seed(info["seed"])],
        **json.loads(info["call"]),
    )
    output = (result.frames if info["fps"] else result.images)[0]
    return (output * 255).round().astype(np.uint8)


@pytest.mark.slow
def test_plain_diffusers_makes_the_samples_of_the_demo_model(tmp_path: Path):
    run = demo_run(tmp_path, "algo=nocache", "batch_size=1", "negative_prompt=a blue star", "num_inference_steps=6")
    samples = make(run)
    assert len(samples) == 4
    for members in samples.values():
        info = json.loads(members["json"])
        assert run.media.encode(by_plain_diffusers(info, demo.path("image"))) == members["png"]


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_plain_diffusers_makes_the_samples_of_each_model(name: str, tmp_path: Path):
    save(name, tmp_path / "weights")
    (tmp_path / "p.txt").write_text("a red circle\n")
    run = new_run(
        tmp_path,
        *(f"model={name}", f"model.path={tmp_path}/weights", f"model.feature.channels={WIDTH}", "algo=nocache"),
        *(f"prompt_file={tmp_path}/p.txt", "num_inference_steps=3", "height=48", "width=64", "model.dtype=float32"),
        *(("num_frames=5",) if name in CLIPS else ()),
    )
    (members,) = make(run).values()
    info = json.loads(members["json"])
    assert info["checkpoint"] == "" and info["revision"] == run.checkpoint.revision
    assert run.media.encode(by_plain_diffusers(info, tmp_path / "weights")) == members[run.media.name]


@pytest.mark.slow
def test_the_json_says_how_this_sample_was_made_whatever_its_neighbours(tmp_path: Path):
    found = infos(make(demo_run(tmp_path)))
    told = [(one["algo"]["weights"], one["algo"]["schedule"], one["num_inference_steps"]) for one in found]
    assert told == [
        ("calibrated", "searched", 28),
        *(("chebyshev", "window", steps) for steps in (9, 6)),  # for which there is no calibration
        ("calibrated", "searched", 28),
    ]
    for one in found:
        assert len(one["algo"]["evaluated"]) == one["evaluated_steps"]
        calibrated = one["algo"]["weights"] == "calibrated"
        assert bool(one["algo"]["calibration"]) == calibrated
        numbers = [one["algo"][name] for name in ("w", "lam", "m", "horizon", "warmup_steps", "window_size")]
        assert numbers == ([0] * 6 if calibrated else [0.5, 0.1, 4, one["num_inference_steps"], 5, 2.0])
        call = json.loads(one["call"])
        assert (call["height"], call["width"], call["true_cfg_scale"]) == tuple(
            one[name] for name in ("height", "width", "guidance_scale")
        )
        assert call["max_sequence_length"] == 16
    assert [[tuple(encoder.values()) for encoder in one["encoders"]] for one in found] == [ENCODERS] * 4
    assert [one["seed"] for one in found][::2] == [5, 7]
    assert [json.loads(one["metadata"]) for one in found] == [{"Category": name} for name in "xyzx"]
    assert {(one["run"], one["run_id"], one["model"], one["checkpoint"]) for one in found} == {
        ("run", found[0]["run_id"], "demo", "embedded:image")
    }


@pytest.mark.slow
def test_runs_of_all_kinds_have_one_schema_and_merge_in_one_reader(tmp_path: Path):
    """With other columns, algorithms, media settings and models; a reader infers the schema from the first samples."""
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "p.txt").write_text("a red circle\na blue star\n")
    made = {
        **make(demo_run(tmp_path / "csv", "num_inference_steps=6", "key_prefix=csv-")),
        **make(new_run(plain, f"prompt_file={plain}/p.txt", "algo=nocache", "num_inference_steps=3", "key_prefix=p-")),
    }
    save("sdxl", tmp_path / "weights")
    made |= make(
        new_run(
            tmp_path / "sdxl",
            *("model=sdxl", f"model.path={tmp_path}/weights", f"model.feature.channels={WIDTH}", "key_prefix=x-"),
            *(f"prompt_file={plain}/p.txt", "num_inference_steps=4", "height=48", "width=64", "model.dtype=float32"),
        )
    )
    assert len(made) == 8
    schemas = {json.dumps(schema(one)) for one in infos(made)}
    assert len(schemas) == 1
    assert "null" not in schemas.pop()

    tars = [str(path) for name in ("csv", "plain", "sdxl") for path in (tmp_path / name).glob("run/data/*.tar")]
    dataset = load_dataset("webdataset", data_files=tars, split="train", cache_dir=str(tmp_path / "cache"))
    read = {row["__key__"]: row["json"] for row in dataset}
    assert read == {key: json.loads(members["json"]) for key, members in made.items()}


def schema(value: Any) -> Any:
    """Names and types of a json, all the way down."""
    if isinstance(value, dict):
        return {name: schema(one) for name, one in value.items()}
    if isinstance(value, list):
        assert value, "of an empty list readers cannot tell the kind"
        kinds = {json.dumps(schema(one)) for one in value}
        return [json.loads(kind) for kind in kinds]
    return type(value).__name__


def test_what_changes_kernels_is_in_the_json_and_keeps_samples_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = demo_run(tmp_path)
    now = environment(run.options, "cpu")
    assert now["device"] == "cpu" and now["name"] and now["attention"] == "native"
    assert now["capability"] == torch.backends.cpu.get_cpu_capability()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with diffusers.attention_backend("_native_math"):
        other = environment(dataclasses.replace(run.options, cpu_threads=2), "cuda:0")
    assert {name for name in now if now[name] != other[name]} == {
        *("device", "name", "capability", "attention", "matmul", "convolution", "tf32_override", "cpu_threads"),
    }
    assert (other["name"], other["capability"], other["attention"]) == ("NVIDIA H100 80GB HBM3", "9.0", "_native_math")


# --- python -m jobs.regenerate


@pytest.mark.slow
def test_samples_are_made_again_to_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = demo_run(tmp_path, "samples_per_prompt=2", "num_inference_steps=6", "parameters=true")
    samples = make(run)
    keys = ["00000001_0001", "00000003_0000"]
    assert regenerate([str(run.directory.path), *keys, "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{key}: same bytes" for key in keys]
    assert {path.stem: path.read_bytes() for path in (tmp_path / "again").iterdir()} == {
        key: samples[key]["png"] for key in keys
    }


@pytest.mark.slow
def test_what_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    run = demo_run(tmp_path, "num_inference_steps=6")
    make(run)
    whole = BatchPipeline._call_pipeline

    def other(self: BatchPipeline, batch: Any, asked: Any) -> Any:
        output, flags = whole(self, batch, asked)
        return 1 - output, flags

    monkeypatch.setattr(BatchPipeline, "_call_pipeline", other)
    monkeypatch.setattr("jobs.model.environment.processor_name", lambda: "another processor")
    assert regenerate([str(run.directory.path), "00000001_0000"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("00000001_0000: other media, PSNR ") and said.count("\n") == 1
    assert "environment.name was " in said and "is another processor" in said


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("7", "has no sample 7: keys look like 00000000_0000"),
        ("00000009_0000", "has no sample 00000009_0000"),
        ("00000000_0001", "has no sample 00000000_0001"),
        ("00000003_0000", "sample 00000003_0000 is in shard 1, which is not done: finish it first"),
    ],
)
def test_what_cannot_be_made_again_is_refused(
    key: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = demo_run(tmp_path, "num_inference_steps=6", "shard_size=2", "shards=0")
    make(run)
    with pytest.raises(SystemExit) as ended:
        regenerate([str(run.directory.path), key])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_a_place_that_takes_no_files_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        regenerate([str(tmp_path / "no-run"), "00000000_0000", "--out", str(tmp_path / "file")])
    assert capsys.readouterr().err == f"error: {tmp_path}/file cannot be written or read: File exists\n"


@pytest.mark.slow
def test_a_prompt_file_that_changed_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = demo_run(tmp_path, "num_inference_steps=6")
    make(run)
    (tmp_path / "p.csv").write_text(MIXED.replace("star", "cross"))
    with pytest.raises(SystemExit):
        regenerate([str(run.directory.path), "00000000_0000"])
    assert capsys.readouterr().err.endswith(
        "cannot be made again from what is here: prompt_file has other prompts, settings or columns among its first 4\n"
    )


@pytest.mark.slow
def test_a_prompt_file_that_has_become_longer_is_the_same(tmp_path: Path):
    run = demo_run(tmp_path, "num_inference_steps=6")
    make(run)
    (tmp_path / "p.csv").write_text(MIXED + "a star,6,64,64,2,1,x\n")
    assert regenerate([str(run.directory.path), "00000002_0000"]) == 0
