"""What a pipeline gives and nobody wants: flagged, blank and broken samples are told, and never pass for good ones."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from jobs.execute.worker import generate_shards
from jobs.model.pipeline import FLAGGED, FLAT, NOT_FINITE, BatchPipeline, Failure, Made
from jobs.report.status import read_status, render
from jobs.run.run import Run
from tests.support import new_run, write_prompts
from tests.tiny_pipelines import WIDTH, clip, picture_vae, sdxl, tokenizer


def begin(folder: Path, *overrides: str) -> Run:
    return new_run(
        folder,
        *(f"prompt_file={write_prompts(folder / 'p.txt', 4)}", "algo=nocache", "batch_size=4", "shard_size=4"),
        *overrides,
    )


def make(run: Run) -> list[tuple[str, int, str]]:
    events: list[tuple[str, int, str]] = []
    generate_shards(run, run.unfinished(), device="cpu", log_path="", report=lambda *event: events.append(event))
    return events


def kept(run: Run) -> list[dict[str, Any]]:
    with tarfile.open(run.directory.tar(0)) as archive:
        names = [name for name in archive.getnames() if name.endswith(".json")]
        return [json.load(archive.extractfile(name)) for name in names]  # type: ignore[arg-type]


# --- a real safety checker


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion with its real checker, whose thresholds are so low that it flags everything."""
    torch.manual_seed(0)
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "image_size": 32,
        "patch_size": 16,
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=WIDTH))
    torch.nn.init.constant_(checker.concept_embeds_weights, -10.0)
    unet = sdxl().unet
    config = {**unet.config, "addition_embed_type": None, "cross_attention_dim": WIDTH}
    folder = tmp_path_factory.mktemp("checked")
    StableDiffusionPipeline(
        vae=picture_vae(4),
        text_encoder=clip(),
        tokenizer=tokenizer(77),
        unet=type(unet).from_config(config),
        scheduler=DDIMScheduler(),
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    ).save_pretrained(folder)
    return folder


def checked_run(folder: Path, weights: Path, *overrides: str) -> Run:
    return begin(
        folder,
        *("model=sdxl", f"model.path={weights}", "model.dtype=float32", f"model.feature.channels={WIDTH}"),
        *("num_inference_steps=2", "height=64", "width=64"),
        *overrides,
    )


def test_what_a_checker_flags_fails_with_that_reason(checked: Path, tmp_path: Path):
    run = checked_run(tmp_path, checked)
    events = make(run)
    assert [event for event, _, _ in events] == ["failed"] * 4 + ["incomplete"]
    assert all(detail.endswith(FLAGGED) for _, _, detail in events[:4])
    assert not list(run.directory.data.iterdir())


def test_kept_on_request_it_is_marked_and_counted(checked: Path, tmp_path: Path):
    run = checked_run(tmp_path, checked, "flagged=keep")
    assert make(run)[-1] == ("done", 0, "")
    assert [info["flagged"] for info in kept(run)] == [True] * 4
    assert pq.read_table(run.directory.sidecar(0))["status"].to_pylist() == ["flagged"] * 4
    assert "kept though flagged 4" in render("run", read_status(run.directory))


# --- single samples of a batch; the pipeline is a stand-in that gives what it is told to


def given(outputs: Callable[[int], Any], flags: list[bool] | None = None) -> Any:
    """A stand-in for a diffusers pipeline: a picture of noise a sample, but for what ``outputs`` says of its number."""

    def call(prompt: list[str], **asked: Any) -> Any:
        noise = np.random.default_rng(0).random((len(prompt), 16, 16, 3))
        images = np.stack([one if outputs(i) is None else np.full_like(one, outputs(i)) for i, one in enumerate(noise)])
        return SimpleNamespace(images=images, nsfw_content_detected=flags)

    pipeline: Any = call
    pipeline.config = {}
    pipeline.scheduler = SimpleNamespace(config={})
    return pipeline


def judged(run: Run, pipeline: Any, keep_flagged: bool = False) -> list[str]:
    results = BatchPipeline(pipeline, run.options.model, keep_flagged=keep_flagged)(run.layout.batches(0)[0])
    return [result.reason if isinstance(result, Failure) else "" for result in results]


@pytest.mark.parametrize(
    ("value", "reason"), [(0.0, FLAT), (1.0, FLAT), (0.3, FLAT), (float("nan"), NOT_FINITE), (float("inf"), NOT_FINITE)]
)
def test_a_broken_picture_fails_and_its_neighbours_do_not(value: float, reason: str, tmp_path: Path):
    run = begin(tmp_path)
    assert judged(run, given(lambda index: value if index == 2 else None)) == ["", "", reason, ""]


@pytest.mark.parametrize("keep", [False, True])
def test_flags_belong_to_samples(keep: bool, tmp_path: Path):
    run = begin(tmp_path)
    painted_over = given(lambda index: 0.0 if index == 1 else None, [False, True, False, False])
    assert judged(run, painted_over, keep) == ["", "" if keep else FLAGGED, "", ""]
    assert judged(run, given(lambda index: None, [False] * 4), keep) == [""] * 4


def test_a_flagged_sample_is_given_up_at_once_and_a_blank_one_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same noise would be flagged again; nothing else in its shard waits for that."""
    flagged = given(lambda index: None, [True, False, False, False])
    monkeypatch.setattr("jobs.execute.worker.load_pipeline", lambda model, *_, **__: BatchPipeline(flagged, model))
    run = begin(tmp_path)
    assert [event for event, _, _ in make(run)] == ["failed", "sample", "sample", "sample", "done"]
    assert [info["prompt_index"] for info in kept(run)] == [1, 2, 3]
    record = json.loads(run.directory.done_record(0).read_text())
    assert (record["failed"], record["reasons"], record["flagged"]) == ([0], {FLAGGED: 1}, 0)
    assert f"given up 1: 1 {FLAGGED}" in render("run", read_status(run.directory))

    (tmp_path / "blank").mkdir()
    blank = begin(tmp_path / "blank")
    monkeypatch.setattr(
        "jobs.execute.worker.load_pipeline",
        lambda model, *_, **__: BatchPipeline(given(lambda index: 0.0 if index == 3 else None), model),
    )
    assert make(blank)[-1][0] == "incomplete"
    assert make(blank)[-1][0] == "done"
    assert len(kept(blank)) == 3


def test_what_is_made_tells_where_in_its_batch(tmp_path: Path):
    run = begin(tmp_path)
    made = BatchPipeline(given(lambda index: None), run.options.model)(run.layout.batches(0)[0])
    assert [(one.how["batch"], one.how["batch_position"]) for one in made if isinstance(one, Made)] == [
        (4, position) for position in range(4)
    ]
