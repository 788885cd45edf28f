"""Audits of the embedded model: what is compared, where it is written, and a model that is no judge of itself."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.base.errors import BadInput
from jobs.execute.audit import Audit
from jobs.execute.worker import generate_shards
from jobs.media.fidelity import MOST, psnr, ssim
from jobs.model.pipeline import BatchPipeline, Failure, Made
from jobs.report.status import read_status, render
from jobs.run.run import Run
from tests.support import new_run, resolved, tar_hashes, write_prompts

SETTINGS = ("num_inference_steps=8", "height=32", "width=32", "shard_size=4", "batch_size=2")


def new(folder: Path, *more: str) -> Run:
    folder.mkdir(exist_ok=True)
    prompts = write_prompts(folder / "prompts.txt", 4)
    return new_run(folder, f"prompt_file={prompts}", *SETTINGS, *more)


def make(run: Run) -> dict[str, np.ndarray]:
    generate_shards(run, [0], device="cpu", log_path="", report=lambda *_: None)
    with tarfile.open(run.directory.tar(0)) as archive:
        files = {one.name: archive.extractfile(one) for one in archive if one.name.endswith(".png")}
        return {name[:-4]: np.asarray(Image.open(io.BytesIO(file.read()))) for name, file in files.items() if file}


@pytest.mark.slow
def test_every_second_sample_is_compared_with_all_steps_and_the_tar_is_the_same(tmp_path: Path):
    audited = new(tmp_path / "audited", "algo.w=0.5", "audit_every=2", "audit_floor=99")
    made = make(audited)
    plain = make(new(tmp_path / "plain", "algo=nocache"))
    assert audited.forecast
    rows = pq.read_table(audited.directory.sidecar(0)).to_pylist()
    assert [row["audit_psnr"] is not None for row in rows] == [True, False, True, False]
    for row in rows[::2]:
        pair = made[row["key"]], plain[row["key"]]
        assert (row["audit_psnr"], row["audit_ssim"]) == (psnr(*pair), ssim(*pair)) and row["audit_psnr"] < 99
    text = render("", read_status(audited.directory))
    assert "audit    2 samples made with all steps as well" in text and "2 of them below audit_floor=99 dB" in text

    unaudited = new(tmp_path / "unaudited", "algo.w=0.5")
    make(unaudited)
    assert tar_hashes(audited.directory.path) == tar_hashes(unaudited.directory.path)
    assert "audit" not in render("", read_status(unaudited.directory))


def test_a_model_that_makes_another_sample_each_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = new(tmp_path, "algo.w=0.5", "audit_every=2")
    call, dice = BatchPipeline.__call__, np.random.default_rng(0)

    def noisy(self: BatchPipeline, batch: Any) -> list[Any]:
        made = call(self, batch)
        return [Made(one.media ^ dice.integers(0, 2, one.media.shape, np.uint8), one.how) for one in made]  # type: ignore[union-attr]

    monkeypatch.setattr(BatchPipeline, "__call__", noisy)
    for _ in range(2):
        with pytest.raises(BadInput, match=r"makes them other each time \(two of one sample have 5\d\.\d dB\): leave"):
            make(run)
    assert not list(run.directory.work.glob("*.jsonl"))
    assert json.loads((run.directory.work / "audit" / "twice.json").read_text()) < 60


def test_where_the_first_samples_fail_it_is_said_that_nothing_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    run = new(tmp_path, "algo.w=0.5", "audit_every=2")
    first, *others = run.layout.batches(0)[0]
    failing = {first.index, *(one.index for one in others)}

    def whole(audit: Audit, batch: Any) -> dict[int, Any]:
        picture = np.zeros((32, 32, 3), np.uint8)
        return {one.index: Failure("bad") if one.index in failing else Made(picture, {}) for one in batch}

    monkeypatch.setattr(Audit, "_whole", whole)
    audit = Audit(run, cast(BatchPipeline, None))
    with caplog.at_level("WARNING"):
        audit.check()
    twice = run.directory.work / "audit" / "twice.json"
    assert "none could be made twice" in caplog.text and json.loads(twice.read_text()) is None
    twice.unlink()
    caplog.clear()
    failing.clear()
    failing.add(first.index)
    audit.check()
    assert not caplog.text and json.loads(twice.read_text()) == MOST


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["algo=nocache"], "audit_every compares forecasts with all steps, and algo=nocache forecasts none: leave it "),
        (["model=flux", "parallel.ulysses=2"], "audit_every is for samples that ranks do not share: leave it out, or "),
    ],
)
def test_where_there_is_nothing_to_audit_it_is_refused(options: list[str], sentence: str, tmp_path: Path):
    prompts = write_prompts(tmp_path / "prompts.txt", 2)
    with pytest.raises(BadInput) as caught:
        resolved(f"prompt_file={prompts}", "audit_every=3", *options)
    assert str(caught.value).startswith(sentence)
