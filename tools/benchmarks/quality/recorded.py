"""All-steps trajectories of other sentences than the benchmark's: what peers, and forecasts of outputs, are made from.

One recording serves them all. It is kept beside the results; whoever asks first makes it.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

import spectrum
from jobs.calibrate.recording import calibrate
from jobs.model.load import load_pipeline
from jobs.options.compose import compose_options
from jobs.run.resolve import resolve
from jobs.store.atomic import write_bytes
from tools.benchmarks.quality import cases
from tools.benchmarks.quality.peers.problem import Problem
from tools.benchmarks.quality.sampling import MODELS, plain_run

COUNT = 16


@cache
def recording(name: str, out: Path) -> spectrum.Calibration:
    """Return the inner products of features and outputs of a model at every number of steps."""
    path = out / f"quality-recorded-{name}.json"
    if not path.exists():
        prompts = [f"prompt_file={MODELS[name].calibrated_on}", f"total_prompt_num={COUNT}"]
        run = resolve(compose_options([*MODELS[name].options, *prompts, "algo=nocache", "device=cpu"]))
        write_bytes(path, calibrate(run, [*cases.EVALUATIONS], []).to_json().encode())
    return spectrum.Calibration.load(path)


@cache
def problem(name: str, steps: int, out: Path) -> Problem:
    """Return what the peers choose by."""
    found = recording(name, out)
    run = plain_run(name)
    scheduler = load_pipeline(run.options.model, None, run.checkpoint, device="cpu").pipeline.scheduler
    return Problem(found.gram(steps), found.gram(steps, "output"), times(scheduler, steps))


def times(scheduler: Any, steps: int) -> np.ndarray:
    """Return the times of the probability flow that samplers go along: (steps + 1,), falling to 0.

    Of flow matching the share of noise: a sample moves by the velocity. Of noise predictions the ratio of noise to
    signal: the sample over its signal moves by the noise. Flux's pipeline sets its own, evenly spread.
    """
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    else:
        scheduler.set_timesteps(steps)
    if hasattr(scheduler, "sigmas"):
        return np.asarray(scheduler.sigmas, dtype=np.float64)
    alphas = scheduler.alphas_cumprod[scheduler.timesteps].numpy().astype(np.float64)
    return np.append(np.sqrt((1 - alphas) / alphas), 0.0)
