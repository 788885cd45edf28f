"""What one rank does: runs pipelines that it shares with the others, times their steps, and writes what it measured."""

import gc
import json
import os
import statistics
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jobs.options.degrees import Degrees
from jobs.parallel.denoiser import make_mesh, share_denoiser
from jobs.parallel.guidance import Branches
from spectrum import SpectrumConfig, attach
from tools.benchmarks.common.catalog import MODELS
from tools.benchmarks.common.denoisers import build, call_arguments
from tools.benchmarks.common.device import synchronize
from tools.benchmarks.parallel.cases import CASES, Conditions, size_of
from tools.benchmarks.parallel.count import Recorder, branches
from tools.benchmarks.parallel.micro import Reference, microbenchmarks

CONFIG = SpectrumConfig(warmup_steps=3)


def rank_main(rank: int, world: int, folder: str, conditions: Conditions) -> None:
    """Be one rank: measure, and write what came out to ``folder``."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    device = torch.device(conditions.device, rank) if conditions.device == "cuda" else torch.device("cpu")
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.FileStore(f"{folder}/store", world),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=conditions.seconds),
    )
    result = {
        "micro": microbenchmarks(device, conditions.dtype),
        "runs": [_run(name, degrees, device, conditions) for name, degrees in CASES[world]],
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


class Steps:
    """Time the steps of a pipeline: from a step's first denoiser call, which all ranks begin together, to its last.

    Wraps ``_call_impl``, torch's private name for a module's call with its hooks: ``Branches`` replaces it as well, and
    neither a hook nor ``forward`` would have the exchange of branches within the time.

    Args:
        denoiser: Whose calls are watched, those of ``Branches`` included.
        calls: Denoiser calls of a step.
        device: This rank's.
        record: Also record the collectives.
        reference: Timed before each step.
    """

    def __init__(self, denoiser: Any, calls: int, device: torch.device, record: bool, reference: Reference) -> None:
        self.seconds: list[float] = []
        self.reference_seconds: list[float] = []
        self.recorded: list[Recorder] = []
        self._calls, self._device, self._record, self._reference = calls, device, record, reference
        self._made, self._start = 0, 0.0
        self._denoiser, self._inner = denoiser, denoiser._call_impl
        denoiser._call_impl = self._call

    def stop(self) -> None:
        """Leave the denoiser as it was found."""
        self._denoiser._call_impl = self._inner

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if self._made % self._calls == 0:
            self.reference_seconds.append(self._reference.seconds())
            dist.barrier()
            self.recorded.append(Recorder(self._device))
            synchronize(self._device)
            self._start = time.perf_counter()
        if self._record:
            with self.recorded[-1]:
                output = self._inner(*args, **kwargs)
        else:
            output = self._inner(*args, **kwargs)
        self._made += 1
        if self._made % self._calls == 0:
            synchronize(self._device)
            self.seconds.append(time.perf_counter() - self._start)
        return output


def _run(name: str, degrees: Degrees, device: torch.device, conditions: Conditions) -> dict[str, Any]:
    """Run one case on this rank: recorded, which also warms up, and then timed."""
    gc.collect()  # the pipeline of the case before
    model, size, steps = MODELS[name], size_of(name, conditions.scale), conditions.steps
    arguments = call_arguments(model, size, device, conditions.dtype)
    pipe = build(model, size, device, conditions.dtype)
    mesh = make_mesh(degrees, str(device)) if degrees.size > 1 else None
    if degrees.sequence > 1:
        share_denoiser(pipe.transformer, degrees, mesh, str(device))
    handle = attach(pipe, CONFIG)
    if degrees.cfg > 1:
        Branches(pipe, [pipe.transformer], mesh)

    reference = Reference(device, conditions.dtype)

    def run(record: bool) -> Steps:
        watch = Steps(pipe.transformer, branches(arguments), device, record, reference)
        pipe(**arguments, num_inference_steps=steps, generator=torch.Generator().manual_seed(0))
        watch.stop()
        return watch

    recorded, timed = run(True), run(False)
    plan = handle.plan_for(steps)
    return {
        "model": name,
        "degrees": asdict(degrees),
        "evaluated": list(plan.evaluated),
        "rows": round(statistics.mean(len(coefficients) for coefficients in plan.coefficients.values())),
        "seconds": timed.seconds,
        "reference_seconds": timed.reference_seconds,
        "recorded_seconds": recorded.seconds,
        "collective_seconds": [one.seconds for one in recorded.recorded],
        "messages": [[asdict(message) for message in one.messages] for one in recorded.recorded],
        "history_bytes": handle.statistics.history_bytes,
    }
