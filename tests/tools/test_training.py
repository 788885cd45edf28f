"""Training of the embedded models: one step of each part, then exported and scored; and gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.threads import one_thread  # noqa: F401
from tools.training import checkpoint, denoisers, loop
from tools.training.__main__ import main
from tools.training.image import denoiser as image
from tools.training.video import denoiser as video


@pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")  # bfloat16 through norms in float32, as meant
@pytest.mark.parametrize(("prefix", "module"), [("", image), ("video-", video)])
def test_every_command_in_turn(
    prefix: str, module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(module.TASK.autoencoder, scale_samples=(4,), test_samples=4)
    monkeypatch.setattr(module, "TASK", replace(module.TASK, autoencoder=small, pool_size=8))
    monkeypatch.setattr(denoisers, "BATCH", 4)
    work, target = tmp_path / "work", tmp_path / "pipeline"
    given = ["--work", str(work), "--target", str(target), "--threads", "1"]
    for part in ("autoencoder", "denoiser"):
        # The first step is always begun, and takes longer than that.
        assert main([f"{prefix}{part}", *given, "--minutes", "1e-9"]) == 0
        state = checkpoint.load(work / f"{part}.pt")
        assert state and state["step"] == 1
    assert main([f"{prefix}export", *given]) == 0
    assert capsys.readouterr().out.endswith("step 1\n")
    assert main([f"{prefix}score", *given, "--prompts", "2", "--steps", "2"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["n"] == 2
    assert all(0 <= scored[kind]["all"] <= scored[kind]["background"] <= 1 for kind in ("seen", "never_seen"))


class Clock:
    """In the place of ``time``: every step takes a minute."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        self.seconds += 60
        return self.seconds


def fit(path: Path, minutes: float) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)

    def draw_loss(generator: Generator) -> Tensor:
        return (model(torch.randn(8, 4, generator=generator)) - 1).square().mean()

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = loop.Schedule(warmup_steps=2, cooldown_share=0.5, average_decay=0.9)
    loop.fit(path, model, [optimizer], draw_loss, minutes, schedule)
    return model


def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stopped at 3 of 6 minutes: weights, average, optimizer and random numbers are those of one run."""
    monkeypatch.setattr(loop, "time", Clock())
    fit(tmp_path / "whole.pt", 6)

    def stop(path: Path, state: dict) -> None:
        checkpoint_save(path, state)
        if state["step"] == 3:
            raise KeyboardInterrupt

    checkpoint_save = checkpoint.save
    monkeypatch.setattr(loop.checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "stopped.pt", 6)
    fit(tmp_path / "stopped.pt", 6)
    whole, stopped = (checkpoint.load(tmp_path / f"{name}.pt") for name in ("whole", "stopped"))
    assert whole and stopped and whole["step"] == stopped["step"] == 6
    for name in ("model", "average"):
        assert all(whole[name][key].equal(stopped[name][key]) for key in whole[name])
    assert whole["generator"].equal(stopped["generator"])
