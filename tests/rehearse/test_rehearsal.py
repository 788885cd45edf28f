"""A rehearsal against the real thing where that fits here, and at sizes that do not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from jobs.base.errors import BadInput
from jobs.model import demo
from jobs.model.load import load_pipeline
from jobs.rehearse.__main__ import main
from jobs.rehearse.describe import describe, rehearsed
from jobs.rehearse.rehearsal import rehearse
from jobs.report.dryrun import history_bytes, steps_of
from jobs.run.run import Run
from spectrum.denoisers import IN_PIPELINES
from tests.support import resolved

FEW_STEPS = ("num_inference_steps=6", "algo.weights=chebyshev", "warmup_steps=1")


@pytest.fixture(autouse=True)
def nothing_downloaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")


def run_of(folder: Path, *options: str) -> Run:
    (folder / "p.txt").write_text("a red circle on a white background\n" * 4)
    return resolved(f"prompt_file={folder}/p.txt", f"output_base_path={folder}", *options)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["demo", "demo-unet", "demo-video"])
def test_what_is_counted_is_what_the_real_pipeline_does(model: str, tmp_path: Path):
    run = run_of(tmp_path, f"model={model}", *FEW_STEPS)
    rehearsal = rehearse(run)

    real = load_pipeline(run.options.model, run.forecast, run.checkpoint, device="cpu")
    modules = {name: one for name, one in real.pipeline.components.items() if isinstance(one, torch.nn.Module)}
    assert {part.name: part.parameters for part in rehearsal.parts} == {
        name: sum(weights.numel() for weights in one.parameters()) for name, one in modules.items()
    }
    for part in rehearsal.parts:
        assert part.bytes == sum(
            one.nbytes for one in (*modules[part.name].parameters(), *modules[part.name].buffers())
        )

    (denoiser,) = (one for name, one in modules.items() if name in IN_PIPELINES)
    steps: list[int] = [0]
    counted = forward_flops(denoiser, steps)
    step = real.pipeline.scheduler.step

    def stepped(*args: Any, **kwargs: Any) -> Any:
        steps.append(0)
        return step(*args, **kwargs)

    real.pipeline.scheduler.step = stepped
    batch = run.layout.batches(0)[0]
    with sdpa_kernel(SDPBackend.MATH), counted:
        real(batch)
    assert rehearsal.batch == len(batch)
    assert rehearsal.evaluated.flops == steps[0] > 0
    plan = run.forecast.plan(6)
    assert rehearsal.forecast and 0 < rehearsal.forecast.flops == steps[plan.forecast[0]] < steps[0] / 10
    assert rehearsal.row * len(plan.rows) == real.spectrum.statistics.history_bytes
    assert rehearsal.growth == 0 and not rehearsal.evaluated.waits and not rehearsal.forecast.waits


class forward_flops(FlopCounterMode):
    """Adds the operations of each call of a network to the last of ``steps``."""

    def __init__(self, network: torch.nn.Module, steps: list[int]):
        super().__init__(display=False)
        forward = network.forward

        def counted(*args: Any, **kwargs: Any) -> Any:
            before = self.get_total_flops()
            result = forward(*args, **kwargs)
            steps[-1] += self.get_total_flops() - before
            return result

        network.forward = counted


SIZE_720P = ("height=720", "width=1280", "model.vae_tiling=false")  # which takes fewer calls to count
# Model, options, billions of the denoiser's parameters as published, and a line about a card.
SIZES = [
    ("flux", (), 11.9, "RTX 4090 24 GB  with offload=group"),
    ("flux", ("algo.target=output", "width=1360", "height=768"), 11.9, "A100 40 GB      batch of"),
    ("sd3-5", (), 8.06, "L40S 48 GB      batch of"),
    ("sdxl", (), 2.57, "RTX 4090 24 GB  batch of"),
    ("hunyuan", ("model.vae_tiling=false",), 12.8, "H100 80 GB      batch of"),
    ("hunyuan", (*SIZE_720P, "num_frames=129"), 12.8, "H200 141 GB     batch of 2 "),
    ("wan14b", ("model.vae_tiling=false",), 14.3, "H100 80 GB      batch of"),
    ("wan14b", SIZE_720P, 14.3, "RTX 4090 24 GB  no"),
    ("wan14b", ("model.path=Wan-AI/Wan2.2-T2V-A14B-Diffusers", *SIZE_720P), 14.3, "H100 80 GB      with offload=model"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "options", "billions", "fits"), SIZES, ids=lambda one: str(one)[:40])
def test_models_of_real_size_neither_wait_nor_grow(
    model: str, options: tuple[str, ...], billions: float, fits: str, tmp_path: Path
):
    run = run_of(tmp_path, f"model={model}", *options)
    rehearsal = rehearse(run)
    denoiser = next(part for part in rehearsal.parts if part.name in IN_PIPELINES)
    assert denoiser.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert rehearsal.forecast is not None
    for work in (rehearsal.evaluated, rehearsal.forecast):
        assert work.waits == () and work.copies == 0
    assert rehearsal.growth == 0
    assert rehearsal.row * steps_of(run).rows == history_bytes(run, steps_of(run).rows)
    if run.options.algo.target == "output":
        assert rehearsal.forecast.operations == rehearsal.forecast.flops == 0
    else:
        assert 0 < rehearsal.forecast.operations < rehearsal.evaluated.operations / 5
        assert rehearsal.forecast.flops < rehearsal.evaluated.flops / 1000
    assert fits in describe(run, rehearsal)


def test_what_a_run_finds_out_itself_is_said_to_be_assumed_or_left_out(tmp_path: Path):
    run = run_of(tmp_path, "model=demo", "algo.quality=40", "num_inference_steps=10")
    rehearsal = rehearse(run)
    said = describe(run, rehearsal)
    assert "; 7 of them, as by the window: algo.quality finds how many" in said
    assert said.endswith("as is the run's own calibration: 4 samples with all steps, and their forecasts")
    said = describe(run_of(tmp_path, "model=demo", "num_inference_steps=10"), rehearsal)
    assert "; 7 of them\n" in said and said.endswith("what ranks send each other are left out")


@pytest.mark.slow
def test_blocks_that_are_not_run_again_are_counted_as_if_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = run_of(tmp_path, "model=demo-video", "model.vae_tiling=true")
    once = rehearse(run)
    monkeypatch.setattr("jobs.rehearse.rehearsal.run_repeats_once", lambda *_: None)
    assert rehearse(run) == once


def patched_forward(monkeypatch: pytest.MonkeyPatch, extra: Callable[[torch.Tensor], Any]) -> None:
    """Have the denoiser of demo do something more in each call."""
    original = diffusers.FluxTransformer2DModel.forward

    def forward(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        extra(hidden_states)
        return original(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(diffusers.FluxTransformer2DModel, "forward", forward)


@pytest.mark.slow
def test_a_wait_of_the_host_is_seen_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    patched_forward(monkeypatch, lambda states: states.max().item())
    run = run_of(tmp_path, "model=demo", *FEW_STEPS)
    rehearsal = rehearse(run)
    assert rehearsal.forecast and len(rehearsal.evaluated.waits) == len(rehearsal.forecast.waits) == 2  # both branches
    assert f"2 host synchronisations ({Path(__file__)}:" in describe(run, rehearsal)


@pytest.mark.slow
def test_memory_that_each_step_leaves_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    left: list[torch.Tensor] = []
    patched_forward(monkeypatch, lambda states: left.append(states + 1))
    run = run_of(tmp_path, "model=demo", "batch_size=1", *FEW_STEPS)
    rehearsal = rehearse(run)
    assert rehearsal.growth == 2 * left[-1].nbytes > 0
    assert "behind: memory grows by the step" in describe(run, rehearsal)


@pytest.mark.slow
def test_what_is_brought_over_from_main_memory_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    patched_forward(monkeypatch, lambda states: torch.ones(3).to(states.device))
    rehearsal = rehearse(run_of(tmp_path, "model=demo", "algo=nocache", "num_inference_steps=1"))
    assert rehearsal.evaluated.copies == 2 and rehearsal.forecast is None


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "p.txt").write_text("a cat\n")
    words = ["model=demo", "model.dtype=bfloat16", f"prompt_file={tmp_path}/p.txt", *FEW_STEPS]
    assert main([*words, "--price", "2"]) == 0
    said = capsys.readouterr().out
    assert "cost at 2 an hour" in said and "evaluated step: " in said
    assert main([*words, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert f"evaluated step: {counted['evaluated']['operations']} operations" in said
    assert counted["forecast"]["waits"] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model=flux", "model.path=someone/a-model"], "the sizes of someone/a-model are in its files, which are not"),
        (["--utilisation", "0"], "--utilisation must be above 0 and at most 1, not 0"),
        (["--price=-1"], "--price must be above 0, not -1"),
        (["model=nosuch"], "nosuch"),
    ],
)
def test_bad_input(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "p.txt").write_text("a cat\n")
    with pytest.raises(SystemExit) as ended:
        main([*words, f"prompt_file={tmp_path}/p.txt"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


@pytest.mark.slow
def test_a_pipeline_that_cannot_be_followed_is_a_line_of_the_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(states: torch.Tensor) -> None:
        raise KeyError("no such block")

    patched_forward(monkeypatch, fails)
    folder = tmp_path / "model"
    shutil.copytree(demo.path("image"), folder)
    (said,) = rehearsed(run_of(tmp_path, "model=demo", f"model.path={folder}"))
    assert said == f"  on a GPU: {folder} cannot be rehearsed: KeyError: 'no such block'"


def test_a_checkpoint_with_a_part_that_cannot_be_made_is_refused(tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(demo.path("image"), folder)
    (folder / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL", "block_out_channels": 3}')
    with pytest.raises(BadInput, match=r"vae \(AutoencoderKL\) of .*/model cannot be rehearsed: "):
        rehearse(run_of(tmp_path, "model=demo", f"model.path={folder}"))
