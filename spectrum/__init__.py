"""Spectrum: forecasts a diffusion denoiser's features on most steps instead of computing them.

    with spectrum.attach(pipe, spectrum.SpectrumConfig(w=0.5)):
        images = pipe(prompt, num_inference_steps=50).images

After Han et al., "Adaptive Spectral Feature Forecasting for Diffusion Sampling Acceleration", arXiv
2603.01623. `schedule` says which steps are evaluated, `weights` how a forecast mixes their features, `plan`
joins both for a number of steps, `history` holds features, `trajectory` follows a plan, `denoisers` lists the
models, `hooks` makes one forecast, `schedulers` says which samplers can be followed, `clock` follows one,
`controlnets` spares theirs the work, `handle` joins all on a pipeline. `recorder` records what a `calibration`
of the weights needs, and `search` finds a schedule by it.
"""

from typing import TYPE_CHECKING, Any

from spectrum.calibration import CalibratedRule, Calibration
from spectrum.errors import SpectrumError
from spectrum.plan import Plan, SpectrumConfig
from spectrum.schedule import evaluated_steps
from spectrum.weights import ChebyshevRule, ForecastRule, forecast_weights

if TYPE_CHECKING:
    from spectrum.denoisers import DENOISERS, DenoiserSpec
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
    "ForecastRule",
    "Handle",
    "History",
    "Plan",
    "Recorder",
    "SpectrumConfig",
    "SpectrumError",
    "Statistics",
    "Trajectory",
    "attach",
    "evaluated_steps",
    "forecast_weights",
]

# What needs torch, and where it is: options and plans are checked by programs that should not wait for it.
_WITH_TORCH = {
    "DENOISERS": "denoisers",
    "DenoiserSpec": "denoisers",
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
