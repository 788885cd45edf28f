"""Measures steps on real ranks: spawns them, runs pipelines that they share, and what their machine can do."""

import gc
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jobs.parallel.degrees import Degrees
from jobs.parallel.denoiser import make_mesh, share_denoiser
from jobs.parallel.guidance import Branches
from spectrum import SpectrumConfig, attach
from tools.bench_parallel.count import Recorder, branches
from tools.bench_parallel.micro import Reference, microbenchmarks
from tools.bench_speed.catalog import MODELS
from tools.bench_speed.models import Scale, Size, build, call_arguments
from tools.bench_speed.timing import synchronize

CONFIG = SpectrumConfig(warmup_steps=3)
SHARED = 4  # the largest number of ranks: divides heads, frames of latents and text tokens of a shrunk model
CASES = {  # model and degrees; the ranks of one number are spawned once
    1: [("wan", Degrees()), ("hunyuan", Degrees())],
    2: [("wan", Degrees(ulysses=2)), ("wan", Degrees(cfg=2)), ("hunyuan", Degrees(ulysses=2))],
    4: [("wan", Degrees(ulysses=4)), ("wan", Degrees(ulysses=2, cfg=2)), ("hunyuan", Degrees(ulysses=4))],
}


class RanksFailed(Exception):
    """Ranks that did not come to their end, in one sentence; all of them were ended."""


@dataclass(frozen=True)
class Conditions:
    """What is the same in all measurements of a call.

    Attributes:
        scale: shrinks the models.
        steps: of each run.
        device: "cpu" or "cuda": gloo or nccl.
        seconds: that the ranks of one number have.
    """

    scale: float
    steps: int
    device: str
    seconds: float

    @property
    def dtype(self) -> torch.dtype:
        """Of the denoisers."""
        return torch.bfloat16 if self.device == "cuda" else torch.float32


def size_of(name: str, scale: float) -> Size:
    """A model that ``SHARED`` ranks can share: of a smaller scale, with heads, frames and text in multiples of that."""
    size = MODELS[name].size(Scale(scale))
    if scale == 1:
        return size
    heads, text = _multiple(size.config["num_attention_heads"]), _multiple(size.text_tokens)
    frames = _multiple((size.call["num_frames"] - 1) // 4 + 1)
    tokens = frames * (size.call["height"] // 16) * (size.call["width"] // 16)
    return Size(
        size.config | {"num_attention_heads": heads},
        size.call | {"num_frames": 4 * frames - 3},
        text,
        (1, tokens, heads * size.config["attention_head_dim"]),
    )


def _multiple(number: int) -> int:
    return max(SHARED, SHARED * round(number / SHARED))


def measure(world: int, conditions: Conditions) -> dict[str, Any]:
    """Run the cases of so many ranks.

    Returns:
        ``micro``: the machine's microbenchmarks; ``runs``: for each case, medians of the slowest rank's steps and of
        the slowest rank's reference before each.

    Raises:
        RanksFailed: a rank failed, or was too slow.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="bench-parallel-") as folder:
        ranks = [context.Process(target=rank_main, args=(rank, world, folder, conditions)) for rank in range(world)]
        for process in ranks:
            process.start()
        try:
            _await(ranks, conditions.seconds)
        finally:
            for process in ranks:
                process.kill()
                process.join()
        return _joined([json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(world)])


def _await(ranks: list[Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(process.exitcode != 0 for process in ranks):
        if failed := [number for number, process in enumerate(ranks) if process.exitcode]:
            raise RanksFailed(f"rank {failed[0]} of {len(ranks)} failed: its own message is above")
        if time.monotonic() > deadline:
            raise RanksFailed(f"{len(ranks)} ranks took more than {seconds:g} s: give a longer --time-limit")
        time.sleep(0.1)


def rank_main(rank: int, world: int, folder: str, conditions: Conditions) -> None:
    """One rank: writes what it measured to ``folder``."""
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
    """Times the steps of a pipeline: from a step's first denoiser call, which all ranks begin together, to its last.

    Args:
        denoiser: whose calls are watched, those of ``Branches`` included.
        calls: of a step.
        device: this rank's.
        record: also record the collectives.
        reference: timed before each step.
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
    """One case on this rank: times of steps, and of a recorded run before, which also warms up."""
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
        "rows": round(statistics.mean(len(weights) for weights in plan.weights.values())),
        "seconds": timed.seconds,
        "reference_seconds": timed.reference_seconds,
        "recorded_seconds": recorded.seconds,
        "collective_seconds": [one.seconds for one in recorded.recorded],
        "messages": [[asdict(message) for message in one.messages] for one in recorded.recorded],
        "history_bytes": handle.statistics.history_bytes,
    }


def _joined(ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """One result from those of all ranks: the slowest's time of each step, and the mean share of its collectives."""
    micro = {name: _slowest([rank["micro"][name] for rank in ranks]) for name in ranks[0]["micro"]}
    runs = []
    for same in zip(*(rank["runs"] for rank in ranks), strict=True):
        first = same[0]
        run = {name: first[name] for name in ("model", "degrees", "rows", "history_bytes")}
        run["reference_seconds"] = statistics.median(
            map(max, zip(*(one["reference_seconds"] for one in same), strict=True))
        )
        forecast = [step for step in range(1, len(first["seconds"])) if step not in first["evaluated"]]
        for kind, steps in (("evaluated", first["evaluated"][1:]), ("forecast", forecast)):
            shares = [
                statistics.mean(one["collective_seconds"][step] / one["recorded_seconds"][step] for one in same)
                for step in steps
            ]
            seconds = [max(one["seconds"][step] for one in same) for step in steps]
            run[kind] = {
                "seconds": statistics.median(seconds),
                "all_seconds": seconds,
                "collective_share": statistics.median(shares),
                "messages": first["messages"][steps[0]],
            }
        runs.append(run)
    return {"micro": micro, "runs": runs}


def _slowest(values: list[list[list[float]]]) -> list[list[float]]:
    """Of [bytes, seconds] for the same sizes on each rank."""
    return [[pairs[0][0], max(seconds for _, seconds in pairs)] for pairs in zip(*values, strict=True)]
