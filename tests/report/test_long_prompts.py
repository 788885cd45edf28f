"""What is said of prompts that text encoders do not read to the end, and what long_prompts=error makes of it."""

from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.report.long_prompts import long_prompts
from jobs.run.run import Run
from tests.support import generate, resolved
from tests.tiny_pipelines import WIDTH, save

LONG = "a red circle on a white background and a blue star above a green square on a black background"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in ("flux", "sdxl"):
        save(name, folder / name)
    return folder


def begin(name: str, weights: Path, folder: Path, texts: list[str], *words: str) -> Run:
    """Tiny pipelines have a token a byte, and two around them."""
    (folder / "p.txt").write_text("".join(f"{text}\n" for text in texts))
    model = (f"model.path={weights / name}", "model.dtype=float32", f"model.feature.channels={WIDTH}")
    return resolved(f"model={name}", *model, f"prompt_file={folder}/p.txt", "height=48", "width=64", *words)


def test_each_encoder_that_cuts_is_named_with_how_often_and_where(weights, tmp_path):
    texts = ["x" * 75, "x" * 76, "", "x" * 510, "x" * 511]
    run = begin("flux", weights, tmp_path, texts)
    assert long_prompts(run) == (
        f"3 of 4 prompts are longer than the 77 tokens of text_encoder, first: {tmp_path}/p.txt line 2; "
        f"1 of 4 prompts is longer than the 512 tokens of text_encoder_2, first: {tmp_path}/p.txt line 5; "
        "what follows is not read"
    )


def test_encoders_that_cut_alike_are_said_together(weights, tmp_path):
    run = begin("sdxl", weights, tmp_path, ["short", LONG])
    assert long_prompts(run) == (
        f"1 of 2 prompts is longer than the 77 tokens of text_encoder and text_encoder_2, first: {tmp_path}/p.txt "
        "line 2; what follows is not read"
    )


def test_short_prompts_are_no_matter(weights, tmp_path):
    assert long_prompts(begin("sdxl", weights, tmp_path, ["short", "x" * 75])) is None


def test_negative_prompts_count_once_each(weights, tmp_path):
    run = begin("sdxl", weights, tmp_path, ["a", "b"], f"negative_prompt={LONG}")
    assert long_prompts(run) == (
        f"1 of 1 negative prompt is longer than the 77 tokens of text_encoder and text_encoder_2, first: {tmp_path}"
        "/p.txt line 1; what follows is not read"
    )
    (tmp_path / "p.csv").write_text(f"prompt,negative_prompt\na,bad\nb,{LONG}\nc,{LONG}\n")
    run = begin("sdxl", weights, tmp_path, ["a"], f"prompt_file={tmp_path}/p.csv")
    assert "1 of 2 negative prompts is longer" in (said := str(long_prompts(run))) and "p.csv line 3" in said


def test_an_error_is_made_of_prompts_that_no_encoder_reads_to_the_end(weights, tmp_path):
    run = begin("flux", weights, tmp_path, ["short", LONG], "long_prompts=error")
    assert str(long_prompts(run)).startswith("1 of 2 prompts is longer than the 77 tokens of text_encoder, ")
    run = begin("flux", weights, tmp_path, ["short", LONG, "x" * 600], "long_prompts=error")
    with pytest.raises(BadInput) as refused:
        long_prompts(run)
    assert str(refused.value) == (
        "1 of 3 prompts is longer than any text encoder reads (77 tokens of text_encoder, 512 tokens of "
        f"text_encoder_2), first: {tmp_path}/p.txt line 3: shorten them, or use long_prompts=warn"
    )


def test_nothing_is_said_of_a_checkpoint_that_is_not_here(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "p.txt").write_text(f"{LONG * 9}\n")
    run = resolved("model=flux", f"prompt_file={tmp_path}/p.txt", "dry_run=true")
    assert run.checkpoint.folder is None and long_prompts(run) is None


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("-m",)], ids=["alone", "-m"])
def test_commands_warn_and_refuse_before_anything_is_written(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text(f"{LONG}\na red circle\n")
    ended = generate(*flags, "prompt_file=p.txt", "dry_run=true")
    assert ended.returncode == 0
    assert ended.stderr.splitlines()[0] == (
        "warning: 1 of 2 prompts is longer than the 16 tokens of text_encoder and text_encoder_2, first: p.txt line 1; "
        "what follows is not read"
    )
    ended = generate(*flags, "prompt_file=p.txt", "long_prompts=error")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "error: 1 of 2 prompts is longer than any text encoder reads (16 tokens of text_encoder, 16 tokens of "
        "text_encoder_2), first: p.txt line 1: shorten them, or use long_prompts=warn\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["p.txt"]
