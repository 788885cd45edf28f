"""Spectrum: forecast a diffusion denoiser's features, or its output, on most steps instead of computing them.

    with spectrum.attach(pipe, spectrum.SpectrumConfig(w=0.5)):
        images = pipe(prompt, num_inference_steps=50).images

After Han et al., "Adaptive Spectral Feature Forecasting for Diffusion Sampling Acceleration", arXiv
2603.01623. `schedule` says which steps are evaluated, `coefficients` how a forecast mixes their features,
`step_plan` joins both for a number of steps, `history` holds features or outputs, `trajectory` follows a plan.
`targets` says what can be forecast: `hooks` makes forecasts enter the head of a model that `denoisers` lists,
`stacks` finds what a step of it spares, `controlnets` spares theirs the work; `outputs` answers calls, which
`interception` catches; `follower` is what both do alike. `schedulers` says which samplers can be followed,
`clock` follows one, `loop` tells where a pipeline's ends, `handle` joins all on a pipeline. `recorder` records
what a `calibration` of the coefficients needs, and `search` finds a schedule by it. `checks` has the limits of
options, `errors` what is raised beyond them.
"""

from typing import TYPE_CHECKING, Any

from spectrum.calibrated_rule import CalibratedRule
from spectrum.calibration import Calibration, Fit
from spectrum.candidates import candidates
from spectrum.coefficients import ChebyshevRule, ForecastRule, forecast_coefficients
from spectrum.denoisers import DENOISERS, DenoiserSpec
from spectrum.errors import SpectrumError
from spectrum.schedule import evaluated_steps
from spectrum.step_plan import SpectrumConfig, StepPlan

if TYPE_CHECKING:
    from spectrum.handle import Handle, attach
    from spectrum.history import History
    from spectrum.recorder import Recorder
    from spectrum.trajectory import Statistics, Trajectory

__all__ = [
    "DENOISERS",
    "CalibratedRule",
    "Calibration",
    "ChebyshevRule",
    "DenoiserSpec",
    "Fit",
    "ForecastRule",
    "Handle",
    "History",
    "Recorder",
    "SpectrumConfig",
    "SpectrumError",
    "Statistics",
    "StepPlan",
    "Trajectory",
    "attach",
    "candidates",
    "evaluated_steps",
    "forecast_coefficients",
]

# What needs torch, and where it is: options and step plans are checked by programs that should not wait for it.
_WITH_TORCH = {
    "Handle": "handle",
    "History": "history",
    "Recorder": "recorder",
    "Statistics": "trajectory",
    "Trajectory": "trajectory",
    "attach": "handle",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module 'spectrum' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"spectrum.{_WITH_TORCH[name]}"), name)
