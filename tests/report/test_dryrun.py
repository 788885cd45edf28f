"""What a command says before it does anything: the dry run, and warnings."""

import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from hydra.core.global_hydra import GlobalHydra

import jobs.generate
from jobs.base.disk import human_bytes
from jobs.model import demo
from jobs.report.dryrun import describe, history_bytes
from jobs.report.warn import unknown_words
from jobs.run.open import open_run
from tests.support import config


@pytest.fixture(autouse=True)
def no_hydra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # main sets it; so it is put back
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


# Rows x tokens x width x branches x bytes, written out from the models' published shapes.
MEMORY = [
    ("flux", (), 10 * 4096 * 3072 * 1 * 2),
    ("flux", ("batch_size=3",), 10 * 4096 * 3072 * 3 * 2),
    ("sd3-5", (), 10 * 4096 * 2432 * 2 * 2),
    ("sd3-5", ("guidance_scale=1",), 10 * 4096 * 2432 * 1 * 2),
    ("sdxl", ("batch_size=1",), 10 * 128 * 128 * 320 * 2 * 2),
    ("hunyuan", (), 10 * 16 * 34 * 60 * 3072 * 2),
    ("wan14b", (), 10 * 21 * 30 * 52 * 5120 * 2 * 2),
    ("flux", ("algo.target=output",), 10 * 4096 * 16 * 2 * 2 * 1 * 2),
    ("sdxl", ("batch_size=1", "algo.target=output"), 10 * 128 * 128 * 4 * 2 * 2),
    ("wan14b", ("algo.target=output",), 10 * 21 * 60 * 104 * 16 * 2 * 2),
    ("wan14b", ("height=720", "width=1280", "model.dtype=float32"), 10 * 21 * 45 * 80 * 5120 * 2 * 4),
]


@pytest.mark.parametrize(("model", "overrides", "expected"), MEMORY)
def test_the_memory_of_the_features(model: str, overrides: tuple[str, ...], expected: int, tmp_path: Path):
    (tmp_path / "p.txt").write_text("a cat\n")
    cfg = config(f"model={model}", f"prompt_file={tmp_path}/p.txt", "flex_window=3", "dry_run=true", *overrides)
    run = open_run(cfg)
    assert history_bytes(run, 10) == expected
    assert f"history: {human_bytes(expected)} for" in describe(run)


@pytest.mark.parametrize("mode", [[], ["-m"], ["-m", "hydra/launcher=submitit_local"]], ids=["here", "sweep", "launch"])
def test_a_dry_run_writes_and_loads_nothing(
    mode: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def too_far(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail("a dry run went on")

    for name in (
        "jobs.execute.command.create",
        "jobs.execute.sweep.create",
        "jobs.model.load.load_pipeline",
        "jobs.execute.fanout.Launch.begin",
    ):
        monkeypatch.setattr(name, too_far)
    (tmp_path / "p.txt").write_text("a cat\na dog\na cow\n")
    monkeypatch.chdir(tmp_path)
    words = ["prompt_file=p.txt", "model=flux", "dry_run=true", "shard_size=2", "flex_window=3"]
    monkeypatch.setattr(sys, "argv", ["generate", *mode, *words])
    with pytest.raises(SystemExit) as ended:
        jobs.generate.main()
    assert not ended.value.code
    said, _, counted = capsys.readouterr().out.partition("flux at 1024x1024, a batch of 1, counted at real size")
    assert ("7005 operations, 74.4 TFLOP" in counted) == (mode == [])
    assert said == (
        "outputs/flux-p: 3 samples of 1024x1024, 2 shards, 2 to make\n"
        "  steps: 10 of 50 evaluated: 0 1 2 3 4 6 11 19 30 44\n"
        "  speed: at most 5.00x of denoising every step\n"
        "  history: 252 MB for a batch of 1 (where the denoiser is), freed when its last step is taken\n"
        "  checkpoint: black-forest-labs/FLUX.1-dev is not downloaded yet: "
        "python -m jobs.download model.path=black-forest-labs/FLUX.1-dev\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["p.txt"]


def test_a_checkpoint_that_the_run_would_refuse_is_told_of(tmp_path: Path):
    (tmp_path / "p.txt").write_text("a cat\n")
    shutil.copytree(demo.path("image"), tmp_path / "model")
    words = (f"model.path={tmp_path}/model", "model.variant=fp16", f"prompt_file={tmp_path}/p.txt", "dry_run=true")
    said = describe(open_run(config(*words))).splitlines()[-1]
    assert said == (
        f"  checkpoint: not usable as it is: model.path {tmp_path}/model lacks weights of the variant fp16: give a "
        "whole pipeline's directory, or use model.variant=null, which is there"
    )


def test_what_single_prompts_set_otherwise_is_said(tmp_path: Path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "height": 512}\n{"prompt": "b"}\n')
    said = describe(open_run(config(f"prompt_file={tmp_path}/p.jsonl", "dry_run=true", "algo=nocache")))
    assert "p.jsonl sets height for single prompts" in said
    assert "steps: all 50 evaluated (algo=nocache)" in said


WORDS = [
    ("a red circle on a white background", (), None),
    ("A RED Circle, please", (), [",", "please"]),
    ("a red circle", ("negative_prompt=blurry",), ["blurry"]),
]


@pytest.mark.parametrize(("prompt", "overrides", "named"), WORDS)
def test_words_the_embedded_model_does_not_know_are_listed(
    prompt: str, overrides: tuple[str, ...], named: list[str] | None, tmp_path: Path
):
    (tmp_path / "p.txt").write_text(prompt)
    warning = unknown_words(open_run(config(f"prompt_file={tmp_path}/p.txt", *overrides)))
    if named is None:
        assert warning is None
    else:
        unknown = ", ".join(named)
        where = f"{tmp_path}/p.txt" + (" or negative_prompt" if overrides else "")
        assert warning == (
            f"{where} has words that model demo was not trained on and cannot tell apart: {unknown}; "
            f"it knows {', '.join(sorted(demo.vocabulary('image')))}"
        )


def test_a_long_list_of_unknown_words_is_cut_and_other_models_know_all(tmp_path: Path):
    (tmp_path / "p.txt").write_text(" ".join(f"w{number:02}" for number in range(25)))
    warning = unknown_words(open_run(config(f"prompt_file={tmp_path}/p.txt")))
    assert warning and "w00, w01, " in warning and "w09 and 15 more; it knows " in warning
    assert unknown_words(open_run(config(f"prompt_file={tmp_path}/p.txt", "model=flux", "dry_run=true"))) is None
