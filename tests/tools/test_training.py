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
from tools.training.domain import IMAGE
from tools.training.image import denoiser as image
from tools.training.text import tokenize
from tools.training.unet import denoiser as unet
from tools.training.unet import lessons, noise, places, reading
from tools.training.video import denoiser as video


@pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")  # bfloat16 through norms in float32, as meant
@pytest.mark.parametrize(
    ("prefix", "module", "parts"),
    [
        ("", image, ["autoencoder", "denoiser"]),
        ("video-", video, ["autoencoder", "denoiser"]),
        ("unet-", unet, ["denoiser"]),
    ],
)
def test_every_command_in_turn(
    prefix: str,
    module,
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = replace(module.TASK.autoencoder, scale_samples=(4,), test_samples=4)
    monkeypatch.setattr(module, "TASK", replace(module.TASK, autoencoder=small, pool_size=8))
    monkeypatch.setattr(denoisers, "BATCH", 4)
    monkeypatch.setattr(lessons, "LESSONS", 4)
    work, target = tmp_path / "work", tmp_path / "pipeline"
    given = ["--work", str(work), "--target", str(target), "--threads", "1"]
    for part in parts:
        # The first step is always begun, and takes longer than that.
        assert main([f"{prefix}{part}", *given, "--minutes", "1e-9"]) == 0
        state = checkpoint.load(work / f"{part}.pt")
        assert state and state["step"] == 1
    if prefix == "unet-":
        assert main(["unet-places", *given]) == 0
        assert capsys.readouterr().out.endswith("pointed 6 attentions\n")
    assert main([f"{prefix}export", *given]) == 0
    assert capsys.readouterr().out.endswith("step 1\n")
    assert main([f"{prefix}score", *given, "--prompts", "2", "--steps", "2"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["n"] == 2
    assert all(0 <= scored[kind]["all"] <= scored[kind]["background"] <= 1 for kind in ("seen", "never_seen"))


def test_the_unet_begins_as_the_identity_and_its_parts_read_as_the_image_model() -> None:
    """At the highest level the noise is nearly all of the input, and the model returns nearly its input."""
    captions = ["a red circle left of a blue square on a white background", ""]
    ids = [tokenize(one, captions) for one in unet.TASK.tokenizers()]
    source = reading.image_pipeline()
    with torch.no_grad():
        tokens, sentence = reading.read(*ids)
        state = tokens[..., : source.text_encoder_2.config.d_model] * reading.STATE_SIZE
        read = source.text_encoder_2(ids[0])[0]
        assert (source.text_encoder_2.encoder.final_layer_norm(state) - read).abs().max() < 1e-3
        assert (sentence - source.text_encoder(ids[1]).pooler_output).abs().max() < 1e-5
        noisy = torch.randn(2, 4, 16, 16, generator=Generator().manual_seed(0))
        assert (unet.Denoiser()(noisy, torch.tensor([999, 999]), *ids) - noisy).square().mean().sqrt() < 0.5


def test_the_image_model_teaches_the_noise_that_is_there() -> None:
    """Line and arc between latents and noise meet: what it takes for the noise is nearly that, at every level."""
    generator = Generator().manual_seed(0)
    scenes = unet.TASK.autoencoder.domain.sample_scenes(4, generator)
    ids = [tokenize(one, [IMAGE.caption(scene) for scene in scenes]) for one in unet.TASK.tokenizers()]
    with torch.no_grad():
        latents = unet.encode(reading.image_pipeline().vae, IMAGE.draw(scenes, generator))
    assert lessons.unpack(image.pack(latents)).equal(latents)
    for timestep, error in ((950, 0.1), (500, 0.2), (150, 0.3)):
        noise_there = torch.randn(latents.shape, generator=generator)
        signal = noise.signals()[timestep]
        noisy = signal * latents + (1 - signal.square()).sqrt() * noise_there
        taught = lessons.taught_noise(noisy, torch.full((4,), timestep), ids)
        assert (taught - noise_there).square().mean().sqrt() < error


def test_places_are_read_and_meant() -> None:
    """The words of two objects tell their sides, those of one none; regression finds what is there."""
    captions = ["a red circle left of a blue square on a white background", "a red circle on a white background"]
    ids = [tokenize(one, captions) for one in unet.TASK.tokenizers()]
    sides = places.sides_of_words(unet.TASK.tokenizers())
    words = reading.read(*ids)[0] @ sides.T
    assert words[0, 2, 0] < -0.5 and words[0, 7, 0] > 0.5 and words[0, :, 1].abs().max() < 0.4
    assert words[1].abs().max() < 0.5
    given = torch.randn(500, 6, generator=Generator().manual_seed(0))
    torch.testing.assert_close(places.regress(given, given[:, :2]), torch.eye(6)[:2], atol=0.03, rtol=0)


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
