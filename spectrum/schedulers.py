"""Schedulers: which of them can be the clock of forecasts, and why the others cannot."""

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
# Arguments of `step` that add noise when above 0.
_NOISY_ARGUMENTS = ("eta", "s_churn")


def check_scheduler(scheduler: Any) -> None:
    """Refuse a scheduler under which forecasts cannot work, as far as its class and options tell.

    Raises:
        SpectrumError: It calls the denoiser more than once a step, or adds noise at every step.
    """
    name = type(scheduler).__name__
    if any(base.__name__ in _NOISY for base in type(scheduler).__mro__):
        raise _adds_noise(name, "use a deterministic one such as FlowMatchEulerDiscrete, UniPCMultistep or DDIM")
    algorithm = scheduler.config.get("algorithm_type") or ""
    if algorithm.startswith("sde"):
        raise _adds_noise(f"{name} with algorithm_type={algorithm!r}", f"use {algorithm.removeprefix('sde-')!r}")
    if scheduler.config.get("stochastic_sampling"):
        raise _adds_noise(f"{name} with stochastic_sampling", "leave that option off")
    if scheduler.order != 1:
        raise SpectrumError(
            f"{name} calls the denoiser {scheduler.order} times a step: use a scheduler of order 1 instead"
        )


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


def check_step(scheduler: Any, arguments: dict[str, Any]) -> None:
    """Refuse keyword arguments of `step` that make a deterministic scheduler add noise.

    Raises:
        SpectrumError: One of them does.
    """
    for argument in _NOISY_ARGUMENTS:
        if (arguments.get(argument) or 0) > 0:
            raise _adds_noise(f"{type(scheduler).__name__} with {argument} above 0", f"leave {argument} at 0")


def _adds_noise(what: str, cure: str) -> SpectrumError:
    return SpectrumError(f"{what} adds fresh noise at every step, which past features cannot foretell: {cure}")
