"""Checkpoints whose json files are torn, or hold something else than they must: one sentence, whatever it is."""

import shutil
from pathlib import Path

import pytest

from jobs.base.checkpoint_json import read_index
from jobs.base.errors import BadInput
from jobs.report.long_prompts import long_prompts
from tests.support import resolved
from tests.tiny_pipelines import save

INDEX, LISTED = "model_index.json", "transformer/diffusion_pytorch_model.safetensors.index.json"
CONFIGS = ("scheduler/scheduler_config.json", "text_encoder/config.json", "transformer/config.json", "vae/config.json")
NO_MAPPING = (b"", b"{", b"[1]", b"null", b"3", b'"x"', b"\xff\xfe\x00", b"{}")
NO_INDEX = (
    b'{"_class_name": 5}',
    b'{"_class_name": "WanPipeline", "transformer": "x"}',
    b'{"_class_name": "WanPipeline", "scheduler": []}',
    b'{"_class_name": "WanPipeline", "vae": ["diffusers"]}',
    b'{"_class_name": "WanPipeline", "transformer": [1, 2]}',
    b'{"_class_name": "WanPipeline", "text_encoder": {"a": 1}}',
)
NO_LIST = (b'{"weight_map": 3}', b'{"weight_map": {"a": 4}}', b'{"weight_map": {"a": ["x"]}}', b'{"weight_map": {}}')
ODD = [
    *((file, content) for file in (INDEX, LISTED, *CONFIGS) for content in NO_MAPPING),
    *((INDEX, content) for content in NO_INDEX),
    *((LISTED, content) for content in NO_LIST),
]
# Ranks that share a sample have further files read before a run begins.
ODD_TO_RANKS = [(file, content) for file, content in ODD if content in (b"{", b"[1]", *NO_INDEX[2:4], NO_LIST[1])]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan") / "model"
    save("wan14b", folder)
    (folder.parent / "p.txt").write_text("a cat\n")
    return folder


@pytest.mark.parametrize(
    ("ranks", "odd"),
    [("parallel.ulysses=1", ODD), ("parallel.ulysses=2", ODD_TO_RANKS), ("parallel.cfg=2", ODD_TO_RANKS)],
)
def test_each_is_refused_in_a_sentence(pipeline: Path, tmp_path: Path, ranks: str, odd: list[tuple[str, bytes]]):
    words = ("model=wan14b", f"prompt_file={pipeline.parent}/p.txt", "height=64", "width=64", "num_frames=5", ranks)
    for number, (file, content) in enumerate(odd):
        folder = tmp_path / str(number)
        shutil.copytree(pipeline, folder)
        (folder / file).write_bytes(content)
        with pytest.raises(BadInput, match=f"lacks a readable {file}: give a whole pipeline"):
            run = resolved(*words, f"model.path={folder}", f"output_base_path={tmp_path}")
            long_prompts(run)
            run.checkpoint.check()


def test_null_is_nothing_and_settings_may_be_lists(pipeline: Path, tmp_path: Path) -> None:
    text = (pipeline / INDEX).read_text()
    more = (
        '"image_encoder": null, "safety": [null, null], "text_encoder_select_layers": [2, 5, 8], "vae_scale_factor": 8'
    )
    (tmp_path / INDEX).write_text(text.replace("{", f"{{{more},", 1))
    settings = {"text_encoder_select_layers": (2, 5, 8), "vae_scale_factor": 8}
    assert read_index(tmp_path) == {**read_index(pipeline), "safety": [None, None], **settings}
