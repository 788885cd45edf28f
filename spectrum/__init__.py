"""Spectrum: forecasts a diffusion denoiser's features on most steps instead of computing them.

    with spectrum.attach(pipe, spectrum.SpectrumConfig(w=0.5)):
        images = pipe(prompt, num_inference_steps=50).images

After Han et al., "Adaptive Spectral Feature Forecasting for Diffusion Sampling Acceleration", arXiv
2603.01623. `schedule` says which steps are evaluated, `weights` how a forecast mixes their features, `plan`
joins both for a number of steps, `history` holds features, `trajectory` follows a plan, `denoisers` lists the
models, `attach` hooks it all to a pipeline.
"""

from spectrum.attach import Handle, attach
from spectrum.denoisers import DENOISERS, DenoiserSpec
from spectrum.errors import SpectrumError
from spectrum.history import History
from spectrum.plan import Plan, SpectrumConfig
from spectrum.schedule import evaluated_steps
from spectrum.trajectory import Statistics, Trajectory
from spectrum.weights import ChebyshevRule, ForecastRule, forecast_weights

__all__ = [
    "DENOISERS",
    "ChebyshevRule",
    "DenoiserSpec",
    "ForecastRule",
    "Handle",
    "History",
    "Plan",
    "SpectrumConfig",
    "SpectrumError",
    "Statistics",
    "Trajectory",
    "attach",
    "evaluated_steps",
    "forecast_weights",
]
