"""How long samples and loading take: as measured by earlier processes, else as the model's file says.

Each process that has made a few batches leaves one file in the cache, by checkpoint, settings and GPU. They are hints:
a damaged or missing one changes how tasks are cut, and nothing that is made.
"""

import contextlib
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.base.disk import cache_folder
from jobs.model.weights import weight_bytes
from jobs.run.run import Run
from jobs.store.atomic import write_json

log = logging.getLogger(__name__)

LOAD_BYTES = 1e9  # a second, of weights from a shared file system; what nobody has measured yet
LOAD_AT_LEAST = 30.0  # seconds, of imports and the first call


@dataclass(frozen=True)
class Timing:
    """What a run takes on one worker.

    Attributes:
        sample: seconds of a sample, its share of a batch.
        load: seconds until the model is ready.
        measured: whether somebody has seen them.
    """

    sample: float
    load: float
    measured: bool

    def batch(self, run: Run) -> float:
        """Return the seconds of a full batch."""
        return self.sample * run.options.batch_size


def folder() -> Path:
    """Return where they are kept: ``$XDG_CACHE_HOME/spectrum-jobs/timings``."""
    return cache_folder("timings")


def keep(run: Run, device: str, *, sample: float, load: float) -> None:
    """Leave word of what was measured; a cache that cannot be written is no reason to fail.

    Args:
        run: the run.
        device: name of the GPU or processor.
        sample: see ``Timing``.
        load: likewise.
    """
    name = f"{_key(run)}-{hashlib.sha256(device.encode()).hexdigest()[:8]}.json"
    try:
        folder().mkdir(parents=True, exist_ok=True)
        write_json(folder() / name, {"device": device, "sample": sample, "load": load, "at": time.time()})
    except OSError as error:
        log.warning("the time of a sample is not kept for later runs: %s", error)


def timing_of(run: Run) -> Timing | None:
    """Return what a run takes: of several GPUs' measurements the latest; None where nobody has the least idea."""
    found = []
    for path in folder().glob(f"{_key(run)}-*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            row = json.loads(path.read_text())
            found.append((float(row["at"]), Timing(float(row["sample"]), float(row["load"]), True)))
    if found:
        return max(found, key=lambda one: one[0])[1]
    return _guess(run)


def _guess(run: Run) -> Timing | None:
    options, model = run.options, run.options.model
    if model.step_seconds is None:
        return None
    steps = options.num_inference_steps
    evaluated = len(run.forecast.plan(steps).evaluated) if run.forecast and not run.forecast.pending else steps
    frames = options.num_frames / (model.num_frames or 1)
    size = options.height * options.width * frames / ((model.height or 1) * (model.width or 1))
    load = LOAD_AT_LEAST + weight_bytes(run.checkpoint) / LOAD_BYTES
    return Timing(model.step_seconds * evaluated * size / options.parallel.size, load, False)


def _key(run: Run) -> str:
    """Name everything on which the time of a sample depends, beside the GPU."""
    options = run.options
    steps = run.forecast.plan(options.num_inference_steps).digest() if run.forecast and not run.forecast.pending else ""
    what = [run.checkpoint.pin, run.checkpoint.path, vars(run.layout.defaults), options.batch_size, steps]
    model = options.model
    how = [model.dtype, model.offload, model.compile, options.parallel.shared, options.audit_every]
    return hashlib.sha256(json.dumps([what, how], sort_keys=True, default=str).encode()).hexdigest()[:16]
