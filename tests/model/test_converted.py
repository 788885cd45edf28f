"""A checkpoint converted to a run's dtype: the same samples and the same run, from pages that processes share."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from jobs.download import main
from jobs.model.converted import find_converted
from jobs.model.load import load_pipeline
from jobs.run.run import Run
from tests.model.test_loading import as_variant, begin
from tests.tiny_pipelines import save

BFLOAT16 = "model.dtype=bfloat16"


@pytest.fixture
def flux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save("flux", tmp_path / "flux")
    return tmp_path / "flux"


def picture_and_files(run: Run) -> tuple[np.ndarray, set[Path]]:
    """Return a picture, and the files of weights whose pages the pipeline's memory consists of."""
    pipeline = load_pipeline(run.options.model, run.forecast, run.checkpoint, device="cpu")
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = {Path(line.split()[-1]) for line in lines if line.endswith(".safetensors")}
    (made,) = pipeline([run.layout.sample(0)])
    return made.media, files


def convert(*words: str) -> int:
    return main(["model=flux", *words, "--convert"])


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_samples_and_run_stay_the_same(
    flux: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variant: str | None
) -> None:
    monkeypatch.setattr("jobs.download.MUCH", 1)
    words = [BFLOAT16]
    if variant:
        as_variant(flux, variant, ("transformer", "text_encoder", "text_encoder_2", "vae"))
        words.append(f"model.variant={variant}")
    run = begin(flux, *words)
    wanted, files = picture_and_files(run)
    assert not any(file.is_relative_to(flux) for file in files), "what is converted while it is loaded is a copy"
    assert main(["model=flux", f"model.path={flux}", *words]) == 0
    assert "of its weights are stored in another dtype than they are used in" in capsys.readouterr().out
    assert convert(f"model.path={flux}", *words) == 0
    folder = find_converted(run.options.model, run.checkpoint)
    assert folder and str(folder) in capsys.readouterr().out
    assert main(["model=flux", f"model.path={flux}", *words]) == 0
    assert "another dtype" not in capsys.readouterr().out
    again = begin(flux, *words)
    assert again.identity == run.identity
    made, files = picture_and_files(again)
    assert np.array_equal(made, wanted)
    assert {file.relative_to(folder).parts[0] for file in files if file.is_relative_to(folder)} >= {"transformer"}
    record = json.loads((folder / "converted.json").read_text())
    assert (record["revision"], record["dtype"]) == (run.checkpoint.revision, "bfloat16")
    assert find_converted(begin(flux, *words, "model.dtype=float32").options.model, run.checkpoint) is None


def test_a_damaged_one_is_passed_over_and_made_again(flux: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = begin(flux, BFLOAT16)
    assert convert(f"model.path={flux}", BFLOAT16) == 0
    folder = find_converted(run.options.model, run.checkpoint)
    assert folder
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert find_converted(run.options.model, run.checkpoint) is None
    assert "is passed over: transformer/diffusion_pytorch_model.safetensors" in caplog.text
    assert convert(f"model.path={flux}", BFLOAT16) == 0
    assert find_converted(run.options.model, run.checkpoint) == folder
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Stands for a quota: this process cannot write more than so many bytes into a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written_is_told_and_leaves_nothing(flux: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with no_file_above(100_000), pytest.raises(SystemExit):
        convert(f"model.path={flux}", BFLOAT16)
    said = capsys.readouterr().err.splitlines()[-1]
    place = flux.parent / "cache/spectrum-jobs/converted"
    assert said.startswith(f"error: {place} cannot be written (") and "File too large" in said
    assert said.endswith("): free some space, or set XDG_CACHE_HOME")
    assert not any(place.iterdir())


def test_what_cannot_be_converted_is_refused(flux: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        convert(f"model.path={flux}", f"model.vae={flux}/vae")
    assert "--convert is for directories and hub ids as they are" in capsys.readouterr().err
