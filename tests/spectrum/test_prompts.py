"""Several samples a prompt, with texts: pipelines that do not repeat embeddings they are given repeat these."""

from typing import Any

import pytest
import torch

from spectrum import SpectrumConfig, attach
from tests.tiny_pipelines import PIPELINES

STEPS, EVALUATED = 9, 5  # warm-up 3: evaluates 0 1 2 4 6
CLIPS = ("hunyuan", "wan14b")


def run(pipe: Any, name: str, prompts: list[str], each: int) -> torch.Tensor:
    """Latents of ``each`` samples of every prompt; sample i is made from noise of seed i."""
    options: dict[str, Any] = {f"num_{'videos' if name in CLIPS else 'images'}_per_prompt": each}
    if name in CLIPS:
        options["num_frames"] = 5
    return pipe(
        prompts,
        height=32,
        width=32,
        guidance_scale=4.0,
        num_inference_steps=STEPS,
        generator=[torch.Generator().manual_seed(sample) for sample in range(len(prompts) * each)],
        output_type="latent",
        **options,
    )[0]


@pytest.mark.parametrize("name", PIPELINES)
def test_two_samples_a_prompt(name: str):
    torch.manual_seed(0)
    pipe = PIPELINES[name]()
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()  # as from_pretrained leaves it: the text encoders have dropout
    prompts = ["a red circle", "a small cat"]
    plain = run(pipe, name, prompts, 2)
    assert len(plain) == 4
    with attach(pipe, SpectrumConfig(warmup_steps=STEPS)):
        assert torch.equal(run(pipe, name, prompts, 2), plain)
    with attach(pipe, SpectrumConfig(warmup_steps=3)) as handle:
        forecast = run(pipe, name, prompts, 2)
        assert handle.statistics.evaluated_steps == EVALUATED
        repeated = [prompt for prompt in prompts for _ in range(2)]
        # Encoding four texts rather than two rounds otherwise, in the plain pipeline as well.
        difference = (run(pipe, name, repeated, 1) - forecast).abs().max()
        assert difference < 1e-5 * forecast.abs().max()
    assert 0 < (forecast - plain).norm() / plain.norm() < 0.2
    assert torch.equal(run(pipe, name, prompts, 2), plain)
