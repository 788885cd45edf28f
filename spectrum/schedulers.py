"""Schedulers: which of them can be the clock of forecasts, and why the others cannot."""

from collections.abc import Mapping, Sequence
from typing import Any

from spectrum.errors import SpectrumError

# They draw fresh noise at every step, whatever their options.
_NOISY = frozenset(
    {
        "CMStochasticIterativeScheduler",
        "CogVideoXDPMScheduler",
        "DDPMParallelScheduler",
        "DDPMScheduler",
        "EulerAncestralDiscreteScheduler",
        "FlowMatchLCMScheduler",
        "LCMScheduler",
        "LTXEulerAncestralRFScheduler",
        "SASolverScheduler",
        "SCMScheduler",
        "TCDScheduler",
        "UnCLIPScheduler",
    }
)
# Denoiser calls a step.
_CALLS = {
    "DPMSolverSDEScheduler": 2,
    "FlowMatchHeunDiscreteScheduler": 2,
    "HeunDiscreteScheduler": 2,
    "KDPM2AncestralDiscreteScheduler": 2,
    "KDPM2DiscreteScheduler": 2,
}
# They set more timesteps than they were asked for.
_REPEATING = frozenset({"PNDMScheduler"})
# Arguments of `step` that add noise when above 0.
_NOISY_ARGUMENTS = ("eta", "s_churn")


def check_scheduler(scheduler: Any) -> None:
    """Refuse a scheduler under which forecasts cannot work, as far as its class and options tell.

    Raises:
        SpectrumError: It calls the denoiser more than once a step, or adds noise at every step.
    """
    names = [base.__name__ for base in type(scheduler).__mro__]
    check_scheduler_config(names, scheduler.config)
    if scheduler.order != 1:
        raise _calls(names[0], scheduler.order)


def check_scheduler_config(names: Sequence[str], config: Mapping[str, Any]) -> None:
    """Refuse the same without the scheduler: nothing is imported or loaded.

    Args:
        names: The name of its class, and of the classes that this is made from.
        config: Its options, as in a pipeline's scheduler_config.json.

    Raises:
        SpectrumError: As for `check_scheduler`.
    """
    name = names[0]
    if not _NOISY.isdisjoint(names):
        raise _adds_noise(name, "use a deterministic one such as FlowMatchEulerDiscrete, UniPCMultistep or DDIM")
    algorithm = config.get("algorithm_type") or ""
    if algorithm.startswith("sde"):
        raise _adds_noise(f"{name} with algorithm_type={algorithm!r}", f"use {algorithm.removeprefix('sde-')!r}")
    if config.get("stochastic_sampling"):
        raise _adds_noise(f"{name} with stochastic_sampling", "leave that option off")
    for one in names:
        if one in _CALLS:
            raise _calls(name, _CALLS[one])
    if not _REPEATING.isdisjoint(names):
        raise SpectrumError(f"{name} repeats steps: use a scheduler with one denoiser call a step instead")


def check_timesteps(scheduler: Any) -> None:
    """Refuse timesteps that hold more denoiser calls than steps, once they are set.

    Raises:
        SpectrumError: The scheduler repeats steps.
    """
    given = getattr(scheduler, "num_inference_steps", None)
    if given is not None and given != len(scheduler.timesteps):
        raise SpectrumError(
            f"{type(scheduler).__name__} makes {len(scheduler.timesteps)} calls for {given} steps: use a "
            "scheduler with one denoiser call a step instead"
        )


def check_step(scheduler: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse keyword arguments of `step` that make a deterministic scheduler add noise.

    Raises:
        SpectrumError: One of them does.
    """
    check_step_arguments(type(scheduler).__name__, arguments)


def check_step_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse the same without the scheduler, of which only the class's name is known.

    Raises:
        SpectrumError: One of them does.
    """
    for argument in _NOISY_ARGUMENTS:
        if (arguments.get(argument) or 0) > 0:
            raise _adds_noise(f"{name} with {argument} above 0", f"leave {argument} at 0")


def _calls(name: str, calls: int) -> SpectrumError:
    return SpectrumError(f"{name} calls the denoiser {calls} times a step: use a scheduler of order 1 instead")


def _adds_noise(what: str, cure: str) -> SpectrumError:
    return SpectrumError(f"{what} adds fresh noise at every step, which past features cannot foretell: {cure}")
