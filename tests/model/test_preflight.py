"""What is refused from a checkpoint's json files alone: these folders hold no weights."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from jobs.base.errors import BadInput
from jobs.run.run import Run
from tests.support import generate, resolved, write_prompts

SD1 = {"scheduler": ["diffusers", "PNDMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"]}
BETAS = {"beta_schedule": "scaled_linear", "skip_prk_steps": True}
PIXELS = ("height=64", "width=64", "model.negative_prompts=true")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path / "p.txt", 2)
    return tmp_path


def checkpoint(name: str = "StableDiffusionPipeline", betas: dict[str, Any] = BETAS, **parts: Any) -> None:
    """Write a pipeline's json files."""
    index = {"_class_name": name, **SD1, **parts}
    files = {"model_index.json": index, "scheduler/scheduler_config.json": betas}
    for path, content in files.items():
        file = Path("model") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))


def begin(*words: str) -> Run:
    return resolved("model=sdxl", "model.path=./model", "prompt_file=p.txt", *PIXELS, *words)


def refused(*words: str) -> str:
    with pytest.raises(BadInput) as error:
        begin(*words)
    return str(error.value)


@pytest.mark.parametrize(
    ("scheduler", "config", "problem", "other"),
    [
        ("PNDMScheduler", BETAS, "repeats steps: use a scheduler with one denoiser call a step instead", "DDIM"),
        ("HeunDiscreteScheduler", BETAS, "calls the denoiser 2 times a step: use a scheduler of order 1 *", "DDIM"),
        ("KDPM2AncestralDiscreteScheduler", {}, "calls the denoiser 2 times a step: *", "DDIM"),
        ("DPMSolverSDEScheduler", {}, "calls the denoiser 2 times a step: *", "DDIM"),
        ("EulerAncestralDiscreteScheduler", {}, "adds fresh noise at every step, *", "DDIM"),
        ("LCMScheduler", {}, "adds fresh noise at every step, *", "DDIM"),
        (
            "DPMSolverMultistepScheduler",
            {"algorithm_type": "sde-dpmsolver++"},
            "with algorithm_type='sde-dpmsolver++' adds fresh noise at every step, *",
            "DDIM",
        ),
        ("FlowMatchHeunDiscreteScheduler", {}, "calls the denoiser 2 times a step: *", "FlowMatchEulerDiscrete"),
    ],
)
def test_a_scheduler_that_spectrum_cannot_follow_is_refused_with_one_that_it_can(scheduler, config, problem, other):
    checkpoint(betas=config, scheduler=["diffusers", scheduler])
    sentence = refused()
    assert sentence.startswith(f"algo=spectrum cannot be used with model sdxl: {scheduler} {problem.rstrip('*')}")
    cure = f"(model.scheduler={other.rstrip('*')}"
    assert cure in sentence and sentence.endswith("can be followed, and algo=nocache follows any)")
    begin("algo=nocache")
    begin(sentence.partition("(")[2].split(" ")[0])


def test_an_option_of_the_scheduler_that_makes_noise_is_named():
    checkpoint(betas={"stochastic_sampling": True}, scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    assert "with stochastic_sampling adds fresh noise" in (sentence := refused())
    assert "leave that option off (+model.scheduler_args.OPTION=value sets another, and algo=nocache" in sentence
    begin("+model.scheduler_args.stochastic_sampling=false")


def test_what_the_options_make_of_the_scheduler_counts():
    checkpoint(betas={}, scheduler=["diffusers", "DPMSolverMultistepScheduler"])
    begin()
    assert "adds fresh noise" in refused("+model.scheduler_args.algorithm_type=sde-dpmsolver++")
    assert "calls the denoiser 2 times" in refused("model.scheduler=HeunDiscreteScheduler")
    assert "adds fresh noise" in refused("algo.target=output", "model.scheduler=EulerAncestralDiscreteScheduler")
    assert refused("+model.scheduler_args.use_karas_sigmas=true") == (
        "model.scheduler_args.use_karas_sigmas is no option of DPMSolverMultistepScheduler: "
        "did you mean use_karras_sigmas?"
    )
    assert "DDIMScheduler with eta above 0 adds" in refused("model.scheduler=DDIMScheduler", "+model.call.eta=0.5")
    begin("+model.call.eta=0.5")  # which this scheduler's step does not take, so the pipeline leaves it out


@pytest.mark.slow
def test_a_scheduler_is_refused_by_the_command_before_anything_is_written(folder: Path):
    checkpoint()
    before = sorted(folder.rglob("*"))
    words = ("model=sdxl", "model.path=./model", "model.dtype=float32", "prompt_file=p.txt", *PIXELS)
    for flags in ((), ("-m",)):
        ended = generate(*flags, *words)
        assert ended.returncode == 2 and ended.stdout == ""
        assert ended.stderr.startswith("error: algo=spectrum cannot be used with model sdxl: PNDMScheduler repeats")
        assert ended.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("StableDiffusionPipeline", "+model.call.clip_skip=2", None),
        (
            "StableDiffusionPipeline",
            "+model.call.clipskip=2",
            "no argument of StableDiffusionPipeline: did you mean clip_",
        ),
        (
            "StableDiffusionPipeline",
            "+model.call.height=64",
            "model.call.height is given to * by the runner: use height",
        ),
        ("StableDiffusionPipeline", "+model.call.guidance_scale=2", "* the runner: use guidance_scale"),
        ("StableDiffusionPipeline", "+model.call.negative_prompt=bad", "* the runner: use negative_prompt"),
        ("StableDiffusionPipeline", "+model.call.prompt=bad", "* the runner: use prompt_file"),
        ("StableDiffusionPipeline", "+model.call.num_images_per_prompt=2", "* the runner: use samples_per_prompt"),
        (
            "StableDiffusionPipeline",
            "model.guidance_argument=true_cfg_scale",
            "model.guidance_argument=true_cfg_scale is no argument of StableDiffusionPipeline: set it to guid*",
        ),
        ("HunyuanDiTPipeline", "+model.call.true_cfg_scale=3", "is no argument of HunyuanDiTPipeline: *"),
        ("Cosmos3OmniPipeline", "", "Cosmos3OmniPipeline makes clips: give model.fps and model.frame_step, *"),
        ("WanPipeline", "", "WanPipeline makes clips: give model.fps and model.frame_step, *"),
        ("SanaVideoPipeline", "model.fps=8 model.frame_step=4", "* SanaVideoPipeline takes no num_frames: *"),
        (
            "WanImageToVideoPipeline",
            "model.fps=8 model.frame_step=4",
            "a WanImageToVideoPipeline, which needs image: *",
        ),
        ("DDPMPipeline", "", "is a DDPMPipeline, which takes no prompt: *"),
        ("LTXI2VPipeline", "", "model.path ./model needs LTXI2VPipeline, which diffusers * does not have: *"),
    ],
)
def test_what_the_pipeline_cannot_be_called_with_is_refused(name: str, words: str, sentence: str | None):
    checkpoint(name, scheduler=["diffusers", "DDIMScheduler"])
    if sentence is None:
        begin(*words.split())
    else:
        assert fnmatch(refused(*words.split()), f"*{sentence}*")


def test_a_denoiser_or_part_that_nobody_knows_is_refused():
    known = {"scheduler": ["diffusers", "DDIMScheduler"]}
    checkpoint(**known, unet=["diffusers", "UNet3DConditionModel"])
    sentence = refused()
    assert sentence.startswith(
        "algo=spectrum cannot be used with model sdxl: Spectrum does not know the denoiser UNet3DConditionModel, only "
    )
    assert sentence.endswith("or forecast its output (algo.target=output, or algo=nocache)")
    begin("algo=nocache")
    begin("algo.target=output")
    checkpoint(**known, vae=["diffusers", "AutoencoderOfTomorrow"])
    assert refused("algo=nocache").startswith("model.path ./model needs AutoencoderOfTomorrow, which diffusers ")


def test_a_class_of_the_checkpoints_own_is_left_to_diffusers():
    checkpoint(**{"_class_name": ["pipeline", "MyPipeline"]})
    begin("+model.call.anything=1")
