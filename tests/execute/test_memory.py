"""Too little memory. The embedded model is real; its device is said to be full beyond what a test lets it hold."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from jobs.base.errors import BadInput
from jobs.execute import memory
from jobs.execute.memory import ADAPT, FAIL, Sparing, TooLittleMemory
from jobs.execute.worker import generate_shards, load
from jobs.model.embeddings import Embeddings
from jobs.model.pipeline import BatchPipeline, Failure, Made
from jobs.regenerate.__main__ import main as regenerate
from jobs.run.run import Run
from tests.support import new_run, resolved, tar_hashes, write_prompts

SMALL = ("num_inference_steps=2", "height=32", "width=32", "algo=nocache", "cpu_threads=1")
Fits = Callable[[Any, list[Any]], bool]  # (diffusers pipeline, batch)


def new(folder: Path, *more: str) -> Run:
    folder.mkdir(exist_ok=True)
    prompts = write_prompts(folder / "prompts.txt", 8)
    return new_run(folder, f"prompt_file={prompts}", *SMALL, "shard_size=8", "batch_size=4", *more)


def make(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make the run in this process; return the samples' json and the rows of the sidecar."""
    generate_shards(run, run.unfinished(), device="cpu", log_path="", report=lambda *_: None)
    with tarfile.open(run.directory.tar(0)) as archive:
        files = [archive.extractfile(one) for one in archive if one.name.endswith(".json")]
        infos = [json.loads(file.read()) for file in files if file]
    return infos, pq.read_table(run.directory.sidecar(0)).to_pylist()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fits], list[int]]:
    """Say what fits; returns the sizes of the calls that were tried."""
    original = BatchPipeline.__call__

    def say(fits: Fits) -> list[int]:
        tried: list[int] = []

        def call(self: BatchPipeline, batch: list[Any], *more: Any) -> Any:
            tried.append(len(batch))
            if not fits(self.pipeline, batch):
                raise torch.OutOfMemoryError("no memory left")
            return original(self, batch, *more)

        monkeypatch.setattr(BatchPipeline, "__call__", call)
        return tried

    return say


def test_halves_are_tried_and_kept_and_remembered(tmp_path: Path, full: Callable[[Fits], list[int]]):
    tried = full(lambda pipeline, batch: len(batch) <= 2)
    infos, rows = make(new(tmp_path, "oom=adapt"))
    assert tried == [4, 2, 2, 2, 2]
    assert [(info["batch"], info["batch_position"]) for info in infos] == [(2, 0), (2, 1)] * 4
    assert [row["adapted"] for row in rows] == ["2 in a call"] * 8


def test_what_was_made_before_a_part_did_not_fit_is_kept(tmp_path: Path, full: Callable[[Fits], list[int]]):
    tried = full(lambda pipeline, batch: len(batch) == 1 or (len(batch) == 2 and batch[0].index < 2))
    _, rows = make(new(tmp_path, "oom=adapt", "total_prompt_num=4"))
    assert tried == [4, 2, 2, 1, 1]
    assert [row["adapted"] for row in rows] == ["2 in a call"] * 2 + ["1 in a call"] * 2


def test_then_tiles_and_then_encoders_in_main_memory(
    tmp_path: Path,
    full: Callable[[Fits], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    fetched: list[str] = []
    real = memory._fetch_when_needed
    monkeypatch.setattr(
        memory, "_fetch_when_needed", lambda part, device: (fetched.append(type(part).__name__), real(part, device))
    )
    full(lambda pipeline, batch: len(batch) == 1 and pipeline.vae.use_tiling and len(fetched) == 2)
    run = new(tmp_path / "adapted", "oom=adapt", "total_prompt_num=2")
    infos, rows = make(run)
    assert sorted(fetched) == ["CLIPTextModel", "T5EncoderModel"]
    assert [row["adapted"] for row in rows] == ["1 in a call, tiles, text encoders in main memory"] * 2
    assert [info["vae_tiling"] for info in infos] == [True] * 2

    full(lambda pipeline, batch: True)
    plain = new(tmp_path / "plain", "total_prompt_num=2", "model.vae_tiling=true", "batch_size=1")
    make(plain)
    assert media(run) == media(plain)
    assert regenerate([str(run.directory.path), "00000001_0000", "--device", "cpu"]) == 0, capsys.readouterr().out
    assert "00000001_0000: same bytes" in capsys.readouterr().out


def media(run: Run) -> list[bytes]:
    with tarfile.open(run.directory.tar(0)) as archive:
        files = [archive.extractfile(one) for one in archive if one.name.endswith(".png")]
        return [file.read() for file in files if file]


@pytest.mark.parametrize(
    ("options", "calls", "words"),
    [
        ((), [4], "out of memory with 4 samples of 32x32 in a call: use a lower batch_size or oom=adapt"),
        (("batch_size=1",), [1], "out of memory with 1 sample of 32x32 in a call: use oom=adapt"),
        (
            ("oom=adapt",),
            [4, 2, 1, 1, 1],
            "out of memory with 1 sample of 32x32 in a call: use a larger GPU, model.offload",
        ),
    ],
)
def test_a_process_that_cannot_make_anything_ends_with_a_sentence(
    options: tuple[str, ...], calls: list[int], words: str, tmp_path: Path, full: Callable[[Fits], list[int]]
):
    tried = full(lambda pipeline, batch: False)
    run = new(tmp_path, *options)
    with pytest.raises(RuntimeError, match=words.replace("(", "\\(")):
        make(run)
    assert tried == calls and not run.directory.done_shards()


def test_what_does_not_fit_among_what_does_fails_and_the_rest_is_made(
    tmp_path: Path, full: Callable[[Fits], list[int]]
):
    tried = full(lambda pipeline, batch: batch[0].index != 4)
    run = new(tmp_path)
    generate_shards(run, [0], device="cpu", log_path="", report=lambda *_: None)
    # Nothing is made of a batch only to be thrown away; the second was begun beside the first, and then tried alone.
    assert tried == [4, 4, 4]
    assert not run.directory.done_shards()
    full(lambda pipeline, batch: True)
    _, rows = make(run)
    assert [row["status"] for row in rows] == ["ok"] * 8  # and nobody is given up for lack of memory


def test_one_that_fits_not_even_alone_is_given_up_like_any_bad_sample(
    tmp_path: Path, full: Callable[[Fits], list[int]]
):
    full(lambda pipeline, batch: batch[0].index != 2)
    run = new(tmp_path, "batch_size=1", "total_prompt_num=4", "sample_attempts=1")
    _, rows = make(run)
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "ok"]
    assert rows[2]["reason"].startswith("out of memory with 1 sample of 32x32")


def test_enough_memory_leaves_no_trace(tmp_path: Path):
    allowed, plain = new(tmp_path / "a", "oom=adapt"), new(tmp_path / "b")
    for run in (allowed, plain):
        infos, rows = make(run)
        assert {info["batch"] for info in infos} == {4} and {row["adapted"] for row in rows} == {""}
    assert media(allowed) == media(plain)
    assert allowed.identity["oom"] == "adapt" and "oom" not in plain.identity
    assert allowed.id != plain.id and tar_hashes(allowed.directory.path) != tar_hashes(plain.directory.path)


def test_text_encoders_leave_before_anything_that_may_change_bits(
    tmp_path: Path, full: Callable[[Fits], list[int]], monkeypatch: pytest.MonkeyPatch
):
    released, ahead = [], []
    monkeypatch.setattr(Embeddings, "release", lambda self, device: not released and (released.append(device) or True))
    monkeypatch.setattr(BatchPipeline, "encode", lambda self, batches: ahead.append([one[0].index for one in batches]))
    tried = full(lambda pipeline, batch: bool(released))
    _, rows = make(new(tmp_path, "shard_size=4"))
    assert tried == [4, 4, 4] and released == ["cpu"]
    assert [row["adapted"] for row in rows] == [""] * 4
    assert ahead == [[4]], "from the next shard on its texts are encoded ahead"


@pytest.mark.slow
def test_audits_are_made_in_as_small_calls(tmp_path: Path, full: Callable[[Fits], list[int]]):
    full(lambda pipeline, batch: len(batch) <= 2)
    _, rows = make(new(tmp_path, "oom=adapt", "audit_every=4", "num_inference_steps=8", "algo=spectrum", "algo.w=0.5"))
    assert [row["audit_psnr"] is not None for row in rows] == [True, False, False, False] * 2


def test_a_pipeline_without_an_autoencoder_has_fewer_ways(tmp_path: Path):
    run = new(tmp_path)

    class Full:
        pipeline, model = SimpleNamespace(components={}), run.options.model

        def __call__(self, batch: list[Any]) -> list[Made | Failure]:
            raise torch.OutOfMemoryError("no memory left")

    batch = run.layout.batches(0)[0][:1]
    for oom in (FAIL, ADAPT):
        with pytest.raises(TooLittleMemory):
            Sparing(Full(), oom, "cpu")(batch)  # type: ignore[arg-type]


def test_without_an_algorithm_alone_a_batch_fails_in_the_words_of_pytorch(tmp_path: Path):
    def unsuited(batch: list[Any]) -> list[Made | Failure]:
        raise RuntimeError("GET was unable to find an engine to execute this computation")

    with pytest.raises(RuntimeError, match="unable to find an engine"):
        Sparing(unsuited, ADAPT, "cpu")(new(tmp_path).layout.batches(0)[0])  # type: ignore[arg-type]


def test_ranks_share_each_call_so_that_it_cannot_be_halved(tmp_path: Path):
    with pytest.raises(BadInput, match=r"oom=adapt does not go with parallel.*: leave it out"):
        resolved("model=demo-video", "prompt_file=prompts/shapes-video.txt", "oom=adapt", "parallel.cfg=2")


def test_the_loaded_pipeline_is_as_it_was(tmp_path: Path):
    run = new(tmp_path)
    pipeline = load(run, "cpu", None)
    batch = run.layout.batches(0)[0]
    results = Sparing(pipeline, ADAPT, "cpu")(batch)
    assert all(isinstance(one, Made) and one.adapted == "" for one in results)
    assert not pipeline.pipeline.vae.use_tiling
