"""The five model configs, end to end, on tiny random pipelines of their real classes."""

import dataclasses
import functools
import io
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image

from jobs.base.errors import BadInput
from jobs.dataset.layout import Sample
from jobs.execute.overlap import Overlap
from jobs.execute.worker import generate_shards
from jobs.media.video import read_clip
from jobs.model.embeddings import Embeddings
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Made
from jobs.report.dryrun import describe, history_bytes
from jobs.run.run import Run
from tests.decoding import Held, plain_pixels
from tests.spectrum.devices import CUDA, DEVICES
from tests.support import new_run, tar_hashes
from tests.tiny_pipelines import PIPELINES, WIDTH, save

CLIPS = ("hunyuan", "wan14b")
STEPS, EVALUATED = 9, 5  # warm-up 3: evaluates 0 1 2 4 6
SIZE = {"height": 48, "width": 64}


@pytest.fixture(scope="module", params=sorted(PIPELINES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    save(request.param, folder)
    return request.param, folder


def begin(model: tuple[str, Path], folder: Path, *overrides: str) -> Run:
    name, weights = model
    (folder / "p.txt").write_text("a red circle\na blue star\na small cat on a mat\n")
    given = [f"{axis}={pixels}" for axis, pixels in SIZE.items()]
    if name in CLIPS:
        given.append("num_frames=5")
    return new_run(
        folder,
        *(f"model={name}", f"model.path={weights}", "model.dtype=float32", f"model.feature.channels={WIDTH}"),
        *(f"prompt_file={folder}/p.txt", "batch_size=2", f"num_inference_steps={STEPS}", "warmup_steps=3"),
        *given,
        *overrides,
    )


def make(run: Run) -> list[tuple[str, int, str]]:
    """Make all shards in this process; returns what was reported."""
    events: list[tuple[str, int, str]] = []
    generate_shards(
        run,
        range(run.layout.num_shards),
        device="cpu",
        log_path="log",
        report=lambda *event: events.append(event),
    )
    return events


def load(run: Run, **changed: Any) -> BatchPipeline:
    """The run's pipeline, with some of the model's options changed."""
    model = dataclasses.replace(run.options.model, **changed)
    return load_pipeline(model, run.forecast, run.checkpoint, device="cpu")


def pictures(pipeline: BatchPipeline, batch: list[Sample]) -> list[np.ndarray]:
    made = pipeline(batch)
    assert all(isinstance(one, Made) for one in made), made
    return [one.media for one in made]


def test_a_dataset_of_each_model_is_whole_and_the_same_twice(model: tuple[str, Path], tmp_path: Path):
    runs = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        runs.append(begin(model, folder))
        assert make(runs[-1])[-1] == ("done", 0, "")
    assert tar_hashes(runs[0].directory.path) == tar_hashes(runs[1].directory.path)

    name, _ = model
    media = "mp4" if name in CLIPS else "png"
    dataset = wds.WebDataset(str(runs[0].directory.tar(0)), shardshuffle=False)
    samples = [sample for sample in dataset]
    assert [set(sample) - {"__key__", "__url__", "__local_path__"} for sample in samples] == [
        {media, "txt", "json"}
    ] * 3
    assert [sample["txt"].decode() for sample in samples] == runs[0].layout.table.texts
    seen = []
    for sample in samples:
        info = json.loads(sample["json"])
        assert (info["model"], info["evaluated_steps"]) == (name, EVALUATED)
        if media == "mp4":
            seen.append(read_clip(sample["mp4"]))
            frames = (info["num_frames"], SIZE["height"], SIZE["width"], 3)
            assert seen[-1].shape == frames and info["num_frames"] == 5
            assert info["duration"] == 5 / info["fps"] == 5 / runs[0].options.model.fps
        else:
            seen.append(np.array(Image.open(io.BytesIO(sample["png"]))))
            assert seen[-1].shape == (SIZE["height"], SIZE["width"], 3)
            assert (info["fps"], info["num_frames"], info["duration"]) == (0, 1, 0.0)
        assert seen[-1].std() > 0


def test_the_dry_run_knows_the_memory_of_the_features(model: tuple[str, Path], tmp_path: Path):
    run = begin(model, tmp_path)
    pipeline = load(run)
    pipeline(run.layout.batches(0)[0])
    rows = len(pipeline.spectrum.plan_for(STEPS).rows)
    assert history_bytes(run, rows) == pipeline.spectrum.statistics.history_bytes > 0
    said = describe(run)
    assert f"{EVALUATED} of {STEPS} evaluated: 0 1 2 4 6" in said
    assert f"at most {STEPS / EVALUATED:.2f}x" in said


def test_a_batch_is_its_samples_whatever_their_company(model: tuple[str, Path], tmp_path: Path):
    """Noise belongs to samples: alone or together, a sample comes out the same but for rounding."""
    run = begin(model, tmp_path, "algo=nocache")
    pipeline = load(run)
    together = pictures(pipeline, run.layout.batches(0)[0])
    alone = [pictures(pipeline, [sample])[0] for sample in run.layout.batches(0)[0]]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 2


def test_texts_are_encoded_once_to_the_same_bytes(model: tuple[str, Path], tmp_path: Path):
    run = begin(model, tmp_path, "samples_per_prompt=4", "total_prompt_num=1")
    first, second = run.layout.batches(0)  # of the same texts
    pipeline = load(run)
    assert pipeline.embeddings
    pipeline.encode([first])
    count = pipeline.embeddings.encoded
    made = [pictures(pipeline, batch) for batch in (first, second)]
    assert pipeline.embeddings.encoded == count > 0
    del pipeline.pipeline.encode_prompt  # the plain pipeline's own comes back
    assert np.array_equal([pictures(pipeline, batch) for batch in (first, second)], made)


@pytest.mark.parametrize("device", DEVICES)
def test_overlapping_batches_are_those_of_the_plain_pipeline(model: tuple[str, Path], device: str, tmp_path: Path):
    run = begin(model, tmp_path)
    pipeline = load_pipeline(run.options.model, run.forecast, run.checkpoint, device=device)
    first, last = run.layout.batches(0)
    # Of fewer steps, so that what is said of the first batch's is not what is known when it comes back.
    shorter = dataclasses.replace(last[0].options, num_inference_steps=7)
    last = [dataclasses.replace(one, options=shorter) for one in last]
    for steps in (nullcontext, pipeline.all_steps):
        overlap = Overlap(pipeline)
        overlap.following = lambda batch: last if batch is first else []
        with steps():
            with Held(pipeline, last=1) as held:
                overlapping = overlap(first), overlap(last)
            overlap.close()
            assert held.overlapped()
            alone = pipeline(first), pipeline(last)
            plain = plain_pixels(pipeline, first), plain_pixels(pipeline, last)
        for made, one, pixels in zip(overlapping, alone, plain, strict=True):
            assert [two.how for two in made] == [two.how for two in one]
            assert np.array_equal([two.media for two in made], pixels)


@pytest.mark.parametrize("device", [CUDA])
def test_encoders_that_left_the_gpu_make_the_same(model: tuple[str, Path], device: str, tmp_path: Path):
    run = begin(model, tmp_path)
    pipeline = load_pipeline(run.options.model, run.forecast, run.checkpoint, device=device)
    first, last = run.layout.batches(0)
    made = pictures(pipeline, first)
    del pipeline.pipeline.encode_prompt
    pipeline.embeddings = Embeddings(pipeline.pipeline)  # with nothing kept
    assert pipeline.embeddings.release(device)
    assert {part.device.type for part in pipeline.embeddings._encoders} == {"cpu"}
    pipeline.encode([last])
    assert np.array_equal(pictures(pipeline, first), made)
    assert {part.device.type for part in pipeline.embeddings._encoders} == {"cpu"}


def test_without_negative_prompts_sdxl_is_guided_as_by_default(tmp_path: Path):
    """Its pipeline has something of its own for "no negative prompt", which is not the empty text."""
    weights = tmp_path / "sdxl"
    save("sdxl", weights)
    run = begin(("sdxl", weights), tmp_path, "algo=nocache")
    batch = run.layout.batches(0)[0]
    pipeline = load(run)
    plain = pipeline.pipeline(
        [sample.prompt for sample in batch],
        **SIZE,
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(sample.seed) for sample in batch],
        output_type="np",
    ).images
    made = pictures(pipeline, batch)
    assert np.array_equal(np.stack(made), (plain * 255).round().astype(np.uint8))
    asked = [
        dataclasses.replace(sample, options=dataclasses.replace(sample.options, negative_prompt="a dog"))
        for sample in batch
    ]
    assert not np.array_equal(pictures(pipeline, asked), made)


@pytest.mark.slow
def test_compiled_blocks_compute_and_are_met_at_each_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend="eager"))
    for name in ("flux", "sd3-5"):
        weights = tmp_path / name
        save(name, weights)
        folder = tmp_path / f"{name}-run"
        folder.mkdir()
        run = begin((name, weights), folder, "model.compile=blocks")
        compiled = load(run)
        plain = load(run, compile="none")
        for batch in run.layout.batches(0):  # of two samples, and of one
            assert np.array_equal(pictures(compiled, batch), pictures(plain, batch))


def test_settings_reach_the_pipeline(tmp_path: Path):
    weights = tmp_path / "wan"
    save("wan14b", weights)
    run = begin(("wan14b", weights), tmp_path, "model.dtype=bfloat16", "model.compile=blocks")
    pipeline = load(run).pipeline
    assert (pipeline.transformer.dtype, pipeline.vae.dtype) == (torch.bfloat16, torch.float32)
    assert pipeline.vae.use_tiling and pipeline.vae.use_slicing
    assert pipeline.scheduler.config.flow_shift == 3.0, "the checkpoint says 5.0"
    assert pipeline.transformer.blocks[0]._compiled_call_impl is not None


def test_a_scheduler_that_spectrum_cannot_follow_is_refused(tmp_path: Path):
    weights = tmp_path / "sdxl"
    save("sdxl", weights)
    with pytest.raises(BadInput, match=r"^algo=spectrum cannot be used with model sdxl: HeunDiscreteScheduler calls "):
        begin(("sdxl", weights), tmp_path, "model.scheduler=HeunDiscreteScheduler")
    run = begin(("sdxl", weights), tmp_path)  # what was not known before it was loaded
    with pytest.raises(BadInput, match=r"^algo=spectrum cannot be used with this model: HeunDiscreteScheduler calls "):
        load(run, scheduler="HeunDiscreteScheduler")
