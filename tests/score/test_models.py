"""Scorers that load checkpoints, with tiny models of the real classes; and those that compare with what was asked."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from jobs.model.demo.scenes import image, video
from jobs.score.checkpoints import find_checkpoint
from jobs.score.embedding import read_head, stills
from jobs.score.shapes import shapes
from tests.export.runs import finished_run, lines
from tests.score.scored import refusal, rows, scorings, work
from tests.tiny_pipelines import tokenizer
from tools.training.domain import IMAGE, VIDEO
from tools.training.score import to_uint8

SMALL: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of 16 numbers, with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    ids = {"vocab_size": 259, "max_position_embeddings": 24, "bos_token_id": 256, "eos_token_id": 257}
    config = CLIPConfig(
        text_config={**SMALL, **ids, "pad_token_id": 258},
        vision_config={**SMALL, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer(24).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three labels."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(1)
    labels = {0: "normal", 1: "nsfw", 2: "drawing"}
    config = ViTConfig(**SMALL, image_size=32, patch_size=16, id2label=labels)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """Linear layers as LAION's predictor has them, fewer and smaller."""
    torch.manual_seed(2)
    network = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Dropout(), torch.nn.Linear(4, 1))
    torch.save({f"layers.{name}": value for name, value in network.state_dict().items()}, tmp_path / "head.pth")
    return tmp_path / "head.pth"


def scored(path: Path, scorer: str, *words: str) -> list[dict]:
    (scoring,) = scorings(path, f"scorers=[{scorer}]", *words)
    assert not [event for event in work(scoring) if event[0] == "failed"]
    return rows(path, scorer)


def pixels_of(path: Path) -> list[np.ndarray]:
    """The pictures of a run's first shard."""
    from jobs.score.reading import Media, pictures_of
    from jobs.store.rundir import RunDir

    media = Media(RunDir(path), 0)
    return [media.read(one) for one in pictures_of(RunDir(path), 0)]


def test_clip_score_is_the_cosine_of_the_models_own_embeddings(run, clip) -> None:
    table = scored(run, "clip", f"clip={clip}", "batch_size=3")
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPImageProcessorPil.from_pretrained(clip)
    words = tokenizer(24)([row["prompt"] for row in _sidecar(run)], truncation=True, padding=True, return_tensors="pt")
    pictures = processor(images=pixels_of(run), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = model(input_ids=words["input_ids"], attention_mask=words["attention_mask"], pixel_values=pictures)
    wanted = 100 * (out.image_embeds * out.text_embeds).sum(1)
    assert [row["clip_score"] for row in table[: len(wanted)]] == pytest.approx(wanted.tolist(), rel=1e-4)
    assert len({round(row["clip_score"], 4) for row in table}) > 5


def _sidecar(path: Path) -> list[dict]:
    import pyarrow.parquet as pq

    return [row for row in pq.read_table(path / "meta/00000.parquet").to_pylist() if row["status"] == "ok"]


def test_aesthetic_is_what_the_head_says_of_the_embedding(run, clip, head) -> None:
    table = scored(run, "aesthetic", f"clip={clip}", f"aesthetic={head}")
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPImageProcessorPil.from_pretrained(clip)
    pictures = processor(images=pixels_of(run), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        found = model.visual_projection(model.vision_model(pictures).pooler_output)
    found = found / found.norm(dim=1, keepdim=True)
    for weight, bias in read_head(head):
        found = found @ weight.T + bias
    assert [row["aesthetic"] for row in table[: len(found)]] == pytest.approx(found[:, 0].tolist(), rel=1e-4)


def test_a_head_as_safetensors_is_read_in_the_order_of_its_layers(tmp_path) -> None:
    layers = {place: torch.nn.Linear(3, 1 if place == 11 else 3) for place in (2, 10, 11)}
    state = {f"net.{place}.{name}": value for place, one in layers.items() for name, value in one.state_dict().items()}
    save_file(state, tmp_path / "head.safetensors")
    for (weight, bias), wanted in zip(read_head(tmp_path / "head.safetensors"), layers.values(), strict=True):
        assert torch.equal(weight, wanted.weight) and torch.equal(bias, wanted.bias)


def test_nsfw_is_the_probability_of_its_labels(run, classifier) -> None:
    table = scored(run, "nsfw", f"nsfw={classifier}", "nsfw_labels=nsfw,drawing")
    model = ViTForImageClassification.from_pretrained(classifier)
    processor = ViTImageProcessorPil.from_pretrained(classifier)
    with torch.inference_mode():
        logits = model(**processor(images=pixels_of(run), return_tensors="pt")).logits
    wanted = 1 - logits.softmax(1)[:, 0]
    assert [row["nsfw"] for row in table[: len(wanted)]] == pytest.approx(wanted.tolist(), rel=1e-4)


def test_of_clips_a_few_frames_are_looked_at() -> None:
    clips = np.arange(2 * 17, dtype=np.uint8).reshape(2, 17, 1, 1, 1).repeat(3, 4)
    pictures, count = stills(clips)
    assert count == 4 and pictures[:, 0, 0, 0].tolist() == [0, 5, 11, 16, 17, 22, 28, 33]
    assert stills(clips[:, :2])[1] == 2 and stills(clips[:, 0])[1] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["scorers=[clip]"],
            "clip=openai/clip-vit-large-patch14 is not downloaded: run hf download openai/clip-vit-large",
        ),
        (["scorers=[clip]", "clip=nowhere"], "clip=nowhere is neither a folder nor a hub id"),
        (["scorers=[clip]", "clip={classifier}"], "is a model of the kind vit, and clip needs clip"),
        (["scorers=[clip]", "clip={empty}"], "has no readable config.json"),
        (["scorers=[clip]", "clip={listed}"], "has no readable config.json"),
        (["scorers=[nsfw]", "nsfw={listed}"], "has no readable config.json"),
        (["scorers=[clip]", "clip={odd}"], "is a model of the kind None, and clip needs clip"),
        (["scorers=[clip]", "clip={torn}"], "has no weights (.safetensors, .bin)"),
        (["scorers=[aesthetic]"], "aesthetic needs a head: download sac+logos+ava1-l14-linearMSE.pth"),
        (["scorers=[aesthetic]", "aesthetic=nowhere.pth"], "aesthetic=nowhere.pth is no file: aesthetic needs a head"),
        (["scorers=[aesthetic]", "clip={clip}", "aesthetic={clip}/config.json"], "is no file of linear layers"),
        (["scorers=[aesthetic]", "clip={clip}", "aesthetic={wide}"], "is for embeddings of 5 numbers, and clip="),
        (["scorers=[nsfw]"], "nsfw=Falconsai/nsfw_image_detection is not downloaded"),
        (
            ["scorers=[nsfw]", "nsfw={classifier}", "nsfw_labels=porn"],
            "has no label 'porn': it has normal, nsfw, drawing",
        ),
        (["scorers=[fidelity]"], "fidelity compares with another run: name it"),
    ],
)
def test_what_is_missing_is_one_sentence_that_says_where_it_comes_from(
    run, clip, classifier, tmp_path, capsys, words, said
) -> None:
    for name in ("empty", "torn", "listed", "odd"):
        (tmp_path / name).mkdir()
    (tmp_path / "listed/config.json").write_text("[]")
    (tmp_path / "odd/config.json").write_text('{"architectures": 5}')
    shutil.copy(clip / "config.json", tmp_path / "torn")
    save_file({"0.weight": torch.zeros(1, 5), "0.bias": torch.zeros(1)}, tmp_path / "wide.safetensors")
    places = {"clip": clip, "classifier": classifier, "wide": tmp_path / "wide.safetensors"}
    places |= {name: tmp_path / name for name in ("empty", "torn", "listed", "odd")}
    assert said in refusal(capsys, run, *(word.format(**places) for word in words))
    assert not (run / "scores").exists()


def test_another_checkpoint_does_not_go_on_with_what_is_scored(run, clip, tmp_path, capsys) -> None:
    scored(run, "clip", f"clip={clip}")
    shutil.copytree(clip, tmp_path / "moved")
    scored(run, "clip", f"clip={tmp_path / 'moved'}")  # the same, elsewhere
    config = json.loads((tmp_path / "moved/config.json").read_text())
    (tmp_path / "moved/config.json").write_text(json.dumps({**config, "logit_scale_init_value": 1}))
    assert "revision was" in refusal(capsys, run, "scorers=[clip]", f"clip={tmp_path / 'moved'}")


def test_fidelity_compares_the_samples_of_one_key(run, tmp_path) -> None:
    other = finished_run(tmp_path / "other", lines(7), "exp_name=other", fails={1: "ValueError: no"}).directory.path
    table = {row["sample_index"]: row for row in scored(run, "fidelity", f"against={other}")}
    assert {index for index, row in table.items() if row["psnr"] == 99 and row["ssim"] == pytest.approx(1)} == {
        *(0, 2, 4, 5, 6)
    }
    assert {index for index, row in table.items() if row["psnr"] is None} == {1, *range(7, 12)}


@pytest.mark.parametrize(("domain", "grammar"), [(IMAGE, image), (VIDEO, video)], ids=["pictures", "clips"])
def test_shapes_tells_whether_a_drawing_shows_what_its_sentence_says(domain, grammar) -> None:
    scenes = domain.sample_scenes(3, torch.Generator().manual_seed(4))
    drawn = to_uint8(domain.draw(scenes, torch.Generator().manual_seed(5))).numpy()
    captions = [domain.caption(scene) for scene in scenes]
    assert shapes(drawn, [{"prompt": caption} for caption in captions])["shows_prompt"] == [True] * 3
    turned = [{"prompt": caption} for caption in [*captions[1:], "a cat on a mat"]]
    judged = shapes(drawn, turned)
    assert judged["shows_prompt"] == [False, False, None] and judged["shows_wrong"][2] is None
    assert all(judged["shows_wrong"][:2])


def test_what_the_hubs_cache_has_is_found_with_the_files_that_its_links_lead_to(clip, tmp_path, monkeypatch) -> None:
    """A cache as the hub's client lays it out."""
    repository, commit = tmp_path / "models--some--clip", "0" * 40
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    for file in clip.iterdir():
        shutil.copy(file, repository / "blobs" / file.name)
        (repository / "snapshots" / commit / file.name).symlink_to(repository / "blobs" / file.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = find_checkpoint("clip", "some/clip", ("clip",))
    assert found.identity == {"checkpoint": "some/clip", "revision": commit}
    assert found.inputs == [repository / "snapshots" / commit, repository]
