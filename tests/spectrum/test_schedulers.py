"""Schedulers: those that pipelines are used with, and which are refused for what reason."""

import inspect
from functools import partial

import diffusers
import pytest
import torch
from diffusers import (
    CogVideoXDPMScheduler,
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from spectrum import SpectrumConfig, SpectrumError, Statistics, attach
from spectrum.schedulers import check_scheduler, check_scheduler_config, check_timesteps
from tests.spectrum.probe import CONFIG, FEW, refuses
from tests.spectrum.tiny import FAMILIES, STEPS

FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
# Flux, Qwen and their like hand over a shift of their own.
SHIFTED = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "use_dynamic_shifting": True}
SHIFTED |= {"time_shift_type": "exponential"}

WORKING = {
    "euler-flow": (FlowMatchEulerDiscreteScheduler, ("sana", "sd3", "wan")),
    "euler-flow-shifted": (
        partial(FlowMatchEulerDiscreteScheduler, use_dynamic_shifting=True),
        ("flux", "ltx", "qwen"),
    ),
    "unipc-flow": (partial(UniPCMultistepScheduler, **FLOW), ("hidream", "hunyuan", "sana", "sd3", "wan")),
    "unipc-flow-shifted": (partial(UniPCMultistepScheduler, **SHIFTED), ("flux", "flux2")),
    "unipc": (UniPCMultistepScheduler, ("pixart", "sdxl")),
    "dpm++-flow": (partial(DPMSolverMultistepScheduler, **FLOW), ("sana_video", "sd3", "wan")),
    "dpm++-flow-shifted": (partial(DPMSolverMultistepScheduler, **SHIFTED), ("flux",)),
    "dpm++": (DPMSolverMultistepScheduler, ("allegro", "hunyuan_dit", "latte", "pixart", "sdxl")),
    "dpm++-3-karras": (partial(DPMSolverMultistepScheduler, solver_order=3, use_karras_sigmas=True), ("sdxl",)),
    "dpm++-single": (DPMSolverSinglestepScheduler, ("sdxl",)),
    "ddim": (DDIMScheduler, ("allegro", "cogview3", "pixart", "sdxl")),
    "euler": (EulerDiscreteScheduler, ("latte", "pixart", "sdxl")),
    "euler-karras": (partial(EulerDiscreteScheduler, use_karras_sigmas=True), ("sdxl",)),
    "deis": (DEISMultistepScheduler, ("sdxl",)),
    "lms": (LMSDiscreteScheduler, ("sdxl",)),
}


@pytest.mark.parametrize(
    ("scheduler", "name"), [(scheduler, name) for scheduler, (_, names) in WORKING.items() for name in names]
)
def test_deterministic_schedulers_with_one_call_a_step_work(scheduler, name):
    family, steps = FAMILIES[name], 6
    pipe = family.make()
    pipe.scheduler = WORKING[scheduler][0]()
    plain = family.run(pipe, num_inference_steps=steps)
    with attach(pipe, SpectrumConfig(warmup_steps=steps)):
        assert torch.equal(family.run(pipe, num_inference_steps=steps), plain)
    with attach(pipe, FEW) as handle:
        assert not torch.equal(family.run(pipe, num_inference_steps=steps), plain)
    assert handle.statistics.evaluated_calls == handle.statistics.forecast_calls == 3 * family.branches(True)


# Those of models of tokens, which take no pictures.
TOKENS = {"DiscreteDDIMScheduler", "EntropyBoundScheduler"}


def ordinary_schedulers():
    """Every scheduler of diffusers that a pipeline could be given without asking more of it, with its noise."""
    for name in sorted(dir(diffusers)):
        if not name.endswith("Scheduler") or name in TOKENS:
            continue
        cls = getattr(diffusers, name)
        if inspect.isclass(cls) and issubclass(cls, SchedulerMixin):
            try:
                yield name, not torch.equal(*(four_steps(cls, seed) for seed in (0, 1)))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                continue


def four_steps(cls, seed):
    torch.manual_seed(seed)
    scheduler = cls()
    scheduler.set_timesteps(6)
    sample = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)
    for timestep in scheduler.timesteps[:4]:
        scaled = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
        sample = scheduler.step(0.3 * scaled, timestep, sample, return_dict=False)[0]
    return sample


@pytest.mark.slow
def test_those_that_draw_noise_are_refused_and_no_others():
    found = dict(ordinary_schedulers())
    assert len(found) > 25
    for name, noisy in found.items():
        scheduler = getattr(diffusers, name)()
        if noisy or scheduler.order != 1 or name == "PNDMScheduler":
            with pytest.raises(SpectrumError, match=r"adds fresh noise at every step|times a step|repeats steps"):
                check_scheduler(scheduler)
        else:
            check_scheduler(scheduler)


@pytest.mark.parametrize(
    ("scheduler", "match"),
    [
        (CogVideoXDPMScheduler(), "^CogVideoXDPMScheduler adds fresh noise .* use a deterministic one"),
        (
            DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"),
            "with algorithm_type='sde-dpmsolver[+][+]' adds fresh noise .* use 'dpmsolver[+][+]'$",
        ),
        (FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "with stochastic_sampling adds .* option off$"),
        (diffusers.HeunDiscreteScheduler(), "2 times a step: use a scheduler of order 1"),
        (diffusers.FlowMatchHeunDiscreteScheduler(), "2 times a step: use a scheduler of order 1"),
        (diffusers.KDPM2DiscreteScheduler(), "2 times a step: use a scheduler of order 1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_attach_says_why_a_scheduler_is_refused(flux, scheduler, match):
    pipe = flux.make()
    pipe.scheduler = scheduler
    refuses(pipe, match)


def test_noise_asked_for_by_an_argument_is_refused_at_the_first_step(sdxl):
    pipe = sdxl.make()
    pipe.scheduler = DDIMScheduler()
    plain = sdxl.run(pipe)
    with attach(pipe, CONFIG) as handle:
        with pytest.raises(SpectrumError, match=r"^DDIMScheduler with eta above 0 adds .* leave eta at 0$"):
            sdxl.run(pipe, eta=0.5)
        assert handle.statistics.steps == 0
        sdxl.run(pipe)
        assert handle.statistics.steps == STEPS
    assert torch.equal(sdxl.run(pipe), plain)


@pytest.mark.parametrize("skip_prk_steps", [False, True])
def test_schedulers_that_repeat_steps_are_refused(sdxl, skip_prk_steps):
    pipe = sdxl.make()
    pipe.scheduler = PNDMScheduler(skip_prk_steps=skip_prk_steps)
    refuses(pipe, "^PNDMScheduler repeats steps: use a scheduler with one denoiser call a step instead$")


class Repeating(EulerDiscreteScheduler):
    """Of a kind that nobody has named."""

    def set_timesteps(self, num_inference_steps=None, **more):
        super().set_timesteps(num_inference_steps, **more)
        self.timesteps = self.timesteps.repeat_interleave(2)


def test_unknown_ones_that_repeat_steps_are_refused_before_the_first_call(sdxl):
    pipe = sdxl.make()
    pipe.scheduler = Repeating()
    with attach(pipe, CONFIG) as handle, pytest.raises(SpectrumError, match="calls for 9 steps"):
        sdxl.run(pipe)
    assert handle.statistics == Statistics()


@pytest.mark.slow
def test_names_and_options_tell_the_same_as_schedulers():
    """So that a pipeline's files are enough to refuse it."""
    for name, _ in ordinary_schedulers():
        scheduler = getattr(diffusers, name)()
        assert refusal(check_scheduler_config, [name], dict(scheduler.config)) == refusal(check_scheduler, scheduler)


@pytest.mark.slow
def test_repeated_steps_are_known_by_name():
    for name, _ in ordinary_schedulers():
        scheduler = getattr(diffusers, name)()
        scheduler.set_timesteps(6)
        if refusal(check_scheduler, scheduler) is None:
            assert refusal(check_timesteps, scheduler) is None, name


def refusal(check, *arguments):
    try:
        check(*arguments)
    except SpectrumError as error:
        return str(error)
    return None
