"""The embedded UNet model: its size, and whether it draws what is asked with the samplers it is for."""

from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

import spectrum
from jobs.model import demo
from jobs.model.choose_forecast import own_calibration
from jobs.model.demo.scenes import image as grammar
from jobs.model.demo.scenes.image_reader import judge, read
from jobs.options.model import ModelOptions
from tools.training import score
from tools.training.domain import UNET

PROMPTS = Path(__file__).parents[2] / "prompts" / "shapes.txt"
LIMIT_MB = 8


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionXLPipeline:
    return score.load(demo.path("unet"))


def asked(n: int) -> torch.Tensor:
    return torch.stack([grammar.parse(line) for line in PROMPTS.read_text().splitlines()[:n]])


def draw(pipeline: StableDiffusionXLPipeline, scenes: torch.Tensor, steps: int = 20) -> torch.Tensor:
    return score.generate(UNET, pipeline, scenes, steps, seed=0, guidance=2.0)


def judged(pictures: torch.Tensor, scenes: torch.Tensor) -> list[dict[str, bool]]:
    return [judge(read(one), scene) for one, scene in zip(pictures, scenes, strict=True)]


def test_it_is_of_the_kind_of_sdxl(pipeline: StableDiffusionXLPipeline) -> None:
    assert isinstance(pipeline, StableDiffusionXLPipeline) and isinstance(pipeline.unet, UNet2DConditionModel)
    assert pipeline.scheduler.config.prediction_type == "epsilon"
    assert sum(file.stat().st_size for file in demo.path("unet").rglob("*") if file.is_file()) <= LIMIT_MB * 1e6
    assert demo.vocabulary("unet") == demo.vocabulary("image")


@pytest.mark.parametrize("sampler", ["DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_model_draws_what_is_asked(pipeline: StableDiffusionXLPipeline, sampler: str) -> None:
    pipeline.scheduler = getattr(diffusers, sampler).from_config(pipeline.scheduler.config)
    scenes = asked(16)
    pictures = draw(pipeline, scenes)
    found = judged(pictures, scenes)
    assert sum(one["count"] and one["background"] for one in found) == 16
    assert sum(one["relation"] for one in found) >= 14
    assert sum(all(one.values()) for one in found) >= 12
    if sampler == "DDIMScheduler":
        # Other batch sizes may round differently, so nearly rather than exactly the same.
        assert (draw(pipeline, scenes[:2]).int() - pictures[:2].int()).abs().float().mean() < 1


def test_its_calibration_forecasts_either_target(pipeline: StableDiffusionXLPipeline) -> None:
    """Forecast on 17 of 28 steps, pictures are nearer to those of all steps than with as many fewer steps."""
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    scenes = asked(4)
    whole, fewer = draw(pipeline, scenes, 28), draw(pipeline, scenes, 11)

    def decibels(made: torch.Tensor) -> float:
        squares = (made.float() - whole.float()).square().mean(dim=(1, 2, 3))
        return float((10 * torch.log10(255**2 / squares.clamp(min=1e-9))).mean())

    for target, margin in (("features", 4.0), ("output", 0.5)):
        path = own_calibration(ModelOptions(name="demo-unet", path="embedded:unet"), target)
        assert path
        rule = spectrum.CalibratedRule(spectrum.Calibration.load(path), target=target)
        with spectrum.attach(
            pipeline, rule=rule, schedule=lambda n, r=rule: r.schedule(n, 11), target=target
        ) as handle:
            forecast = draw(pipeline, scenes, 28)
            assert handle.statistics.forecast_calls == 17, "both branches of guidance are one call"
        assert decibels(fewer) + margin < decibels(forecast) < 99, target
