"""What text encoders are said to see is what pipelines give them: their tokenizers are listened to during a call."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from jobs.model.load import load_pipeline
from jobs.model.tokens import Seen, TokenCounter
from jobs.run.run import Run
from tests.support import resolved
from tests.tiny_pipelines import PIPELINES, WIDTH, save

CLIPS = ("hunyuan", "wan14b", "demo-video")
SHORT = "a red circle"
LONG = "a red circle and a blue star on a white background " * 40
# Models, and the limit of each of their encoders: with what the configs say, and with max_sequence_length=64.
LIMITS = {
    "flux": ({"text_encoder": 77, "text_encoder_2": 512}, {"text_encoder": 77, "text_encoder_2": 64}),
    "sd3-5": (
        {"text_encoder": 77, "text_encoder_2": 77, "text_encoder_3": 256},
        {"text_encoder": 77, "text_encoder_2": 77, "text_encoder_3": 64},
    ),
    "sdxl": ({"text_encoder": 77, "text_encoder_2": 77}, None),
    "hunyuan": ({"text_encoder": 256, "text_encoder_2": 77}, {"text_encoder": 64, "text_encoder_2": 77}),
    "wan14b": ({"text_encoder": 512}, {"text_encoder": 64}),
    "demo": ({"text_encoder": 16, "text_encoder_2": 16}, None),
    "demo-unet": ({"text_encoder": 16, "text_encoder_2": 16}, None),
    "demo-video": ({"text_encoder": 16}, {"text_encoder": 64}),
}
CASES = [(name, own) for name, limits in LIMITS.items() for own in (False, True) if limits[own] is not None]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    for name in PIPELINES:
        save(name, folder / name)
    return {name: folder / name for name in PIPELINES}


def run_of(name: str, weights: dict[str, Path], folder: Path, *words: str) -> Run:
    (folder / "p.txt").write_text(f"{SHORT}\n{LONG}\n")
    tiny = [f"model.path={weights.get(name)}", "model.dtype=float32", f"model.feature.channels={WIDTH}"]
    size = ["height=48", "width=64"] + (["num_frames=5"] if name in CLIPS else [])
    given = [*(tiny if name in weights else []), *size, "num_inference_steps=2", "algo=nocache", "batch_size=2"]
    return resolved(f"model={name}", f"prompt_file={folder}/p.txt", *given, *words)


class Heard(list[tuple[Any, list[str], dict[str, Any], list[list[int]]]]):
    """The calls of tokenizers: each with its texts, arguments and tokens."""


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    calls, original = Heard(), PreTrainedTokenizerBase.__call__

    def listen(self: Any, text: Any = None, **more: Any) -> Any:
        result = original(self, text, **more)
        if not isinstance(text, str):
            calls.append((self, list(text), more, [[int(token) for token in row] for row in result["input_ids"]]))
        return result

    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", listen)
    return calls


@pytest.mark.parametrize(("name", "own"), CASES)
def test_pipelines_cut_prompts_where_it_is_said(name, own, weights, tmp_path, heard):
    words = ["++model.call.max_sequence_length=64"] if own else []
    run = run_of(name, weights, tmp_path, *words)
    counter = TokenCounter.read(run.options.model, run.checkpoint.folder)
    assert {one.name: one.limit for one in counter.encoders} == LIMITS[name][own]
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu")
    heard.clear()
    pipeline(run.layout.batches(0)[0])
    calls = list(heard)
    for one in counter.encoders:
        own_tokenizer = getattr(pipeline.pipeline, one.name.replace("text_encoder", "tokenizer"))
        cut = [call for call in calls if call[0] is own_tokenizer and call[2].get("truncation")]
        _, _, arguments, ids = cut[0]  # the prompts; negative ones follow
        assert arguments["max_length"] == one.limit + one.cropped
        lengths = [sum(token != own_tokenizer.pad_token_id for token in row) for row in ids]
        short, long = (seen[one.name] for seen in counter.seen([SHORT, LONG]))
        assert lengths == [min(seen.tokens, seen.limit) + one.cropped for seen in (short, long)]
        assert long.cut and (not short.cut or one.template != "{}")  # the template's own bytes are many here


def test_a_template_around_the_prompt_is_counted_as_the_pipeline_does(weights, tmp_path):
    run = run_of("hunyuan", weights, tmp_path)
    counter = TokenCounter.read(run.options.model, run.checkpoint.folder)
    first, second = counter.seen(["", "x" * 7])
    assert second["text_encoder"].tokens - first["text_encoder"].tokens == 7
    template = {"template": "Say: {}!"}
    model = replace(run.options.model, call={"prompt_template": {**template, "crop_start": 3}})
    seen = TokenCounter.read(model, run.checkpoint.folder).seen(["ab"])[0]
    assert seen["text_encoder"] == Seen(len("<Say: ab!>") - 3, 256)
    uncropped = replace(run.options.model, call={"prompt_template": template})
    assert TokenCounter.read(uncropped, run.checkpoint.folder).encoders[0].cropped == len("<Say: {}!>") - 2


@pytest.mark.parametrize("text", ["a  red\n circle", "&lt;b&gt; &amp;amp; ", "schÃ¶n", "plain"])
def test_texts_that_the_pipeline_repairs_are_counted_repaired(text, weights, tmp_path):
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    run = run_of("wan14b", weights, tmp_path)
    seen = TokenCounter.read(run.options.model, run.checkpoint.folder).seen([text])[0]
    assert seen["text_encoder"].tokens == len(prompt_clean(text).encode()) + 2
    other = run_of("flux", weights, tmp_path)
    seen = TokenCounter.read(other.options.model, other.checkpoint.folder).seen([text])[0]
    assert seen["text_encoder"].tokens == len(text.encode()) + 2


@pytest.mark.parametrize("letter", ["a", "é", "木", "\ufdfa", "½"])
def test_texts_at_the_limit_are_told_from_those_beyond(letter, weights, tmp_path):
    run = run_of("sdxl", weights, tmp_path)
    counter = TokenCounter.read(run.options.model, run.checkpoint.folder)
    texts = [letter * length for length in range(80)]
    beyond = {place for place, seen in enumerate(counter.seen(texts)) if seen["text_encoder"].cut}
    assert counter.cut(texts) == {"text_encoder": beyond, "text_encoder_2": beyond} and 0 < len(beyond) < 80


def test_few_of_many_short_prompts_are_counted(weights, tmp_path, heard):
    run = run_of("sdxl", weights, tmp_path)
    counter = TokenCounter.read(run.options.model, run.checkpoint.folder)
    texts = ["a cat"] * 100_000
    texts[70_000] = LONG
    heard.clear()
    assert counter.cut(texts) == {"text_encoder": {70_000}, "text_encoder_2": {70_000}}
    assert sum(len(texts) for _, texts, _, _ in heard) <= 4


def test_encoders_that_are_not_there_are_left_out(weights, tmp_path):
    import json

    index = json.loads((weights["sd3-5"] / "model_index.json").read_text())
    for place in ("text_encoder_3", "tokenizer_3"):
        index[place] = [None, None]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "tokenizer").symlink_to(weights["sd3-5"] / "tokenizer")
    (tmp_path / "tokenizer_2").mkdir()  # as a download that was interrupted leaves it
    run = run_of("sd3-5", weights, tmp_path)
    assert [one.name for one in TokenCounter.read(run.options.model, tmp_path).encoders] == ["text_encoder"]
