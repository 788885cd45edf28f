"""The pictures and clips: test sentences, one noise for each, and the pipeline that makes them."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.dataset.layout import Layout
from jobs.dataset.prompts import Places, PromptTable
from jobs.dataset.source import PromptSource
from jobs.model.load import load_pipeline
from jobs.model.pipeline import BatchPipeline, Failure
from jobs.options.compose import compose_options
from jobs.options.model import SampleOptions
from jobs.run.resolve import resolve
from jobs.run.run import Run
from tools.benchmarks.common.denoisers import denoiser_of, last_query
from tools.benchmarks.quality.cases import Case
from tools.training import score
from tools.training.domain import IMAGE, UNET, VIDEO, Domain


@dataclass(frozen=True)
class Model:
    """An embedded model, as it is measured.

    Attributes:
        options: That choose it.
        domain: What it draws.
        batch: Samples made together.
        calibrated_on: A file that begins with the sentences of its calibration.
        sampler: Its scheduler's class.
        fits: Whether the calibration that it comes with fits: it does not with another sampler.
        caches: Whether diffusers has caches for it.
    """

    options: tuple[str, ...]
    domain: Domain
    batch: int
    calibrated_on: str
    sampler: str
    fits: bool = True
    caches: bool = True


SHAPES, MOVING = "docs/benchmarks/calibration-demo.txt", "prompts/shapes-video.txt"
DPM = "DPMSolverMultistepScheduler"
MODELS = {
    "demo": Model(("model=demo",), IMAGE, 16, SHAPES, "FlowMatchEulerDiscreteScheduler"),
    "demo-video": Model(("model=demo-video",), VIDEO, 8, MOVING, "UniPCMultistepScheduler"),
    "demo-unet": Model(("model=demo-unet",), UNET, 16, SHAPES, "DDIMScheduler", caches=False),
    "demo-unet-dpm": Model(
        ("model=demo-unet", f"model.scheduler={DPM}"), UNET, 16, SHAPES, DPM, fits=False, caches=False
    ),
}
SEED = 1  # of the noise
OTHER_SEED = 4242  # of the sentences and the noise that choices are made on


@dataclass
class Subject:
    """A loaded embedded model and what it is asked for.

    Attributes:
        name: Name of its config.
        pipeline: The plain pipeline.
        scenes: What the sentences say: int64 (n, ...); calibrations use other sentences.
        settings: Size, frames and guidance of the model's config.
        seed: Seed of the noise.
    """

    name: str
    pipeline: BatchPipeline
    scenes: Tensor
    settings: SampleOptions
    seed: int = SEED

    @property
    def domain(self) -> Domain:
        """What the model draws."""
        return MODELS[self.name].domain

    def captions(self) -> list[str]:
        """Return the sentences."""
        return [self.domain.caption(scene) for scene in self.scenes]

    def accuracy(self, made: np.ndarray) -> float:
        """Return the share of samples that show all that was asked for."""
        return float(np.mean(self.right(made)))

    def right(self, made: np.ndarray) -> list[bool]:
        """Return whether each sample shows all that was asked for."""
        judged = score.judged(self.domain, torch.from_numpy(made), self.scenes)
        return [all(row.values()) for row in judged]


def subject(name: str, count: int) -> Subject:
    """Load an embedded model; half of its ``count`` sentences are of combinations that it was never trained on."""
    run = plain_run(name)
    halves = ((count - count // 2, False), (count // 2, True))
    scenes = torch.cat([score.scored_scenes(MODELS[name].domain, half, held_out) for half, held_out in halves])
    pipeline = load_pipeline(run.options.model, None, run.checkpoint, device="cpu")
    return Subject(name, pipeline, scenes, run.layout.defaults)


@cache
def plain_run(name: str) -> Run:
    """Return a run of the model with its defaults and without acceleration; nothing is on the disk."""
    return resolve(compose_options([*MODELS[name].options, "algo=nocache", "device=cpu"]))


def others(subject: Subject, count: int) -> Subject:
    """Return the same with ``count`` other sentences, none of them one of ``subject``, and other noise."""
    domain = subject.domain
    generator = torch.Generator().manual_seed(OTHER_SEED)
    taken = set(subject.captions())
    drawn = [domain.sample_scenes(100, generator, held_out=held_out) for held_out in (False, True)]
    fresh = [[scene for scene in scenes if domain.caption(scene) not in taken] for scenes in drawn]
    scenes = torch.stack([*fresh[0][: count // 2], *fresh[1][: count - count // 2]])
    return replace(subject, scenes=scenes, seed=OTHER_SEED)


def sample(subject: Subject, case: Case | None, steps: int) -> tuple[np.ndarray, float]:
    """Make every sample, plainly or with a case's method.

    Returns:
        uint8 (n, height, width, 3) or (n, frames, height, width, 3), and how many times a trajectory ran the network
        whole, on average.
    """
    layout = layout_of(subject, steps)
    pipe = subject.pipeline.pipeline
    runs = 0

    def count(*_: Any) -> None:
        nonlocal runs
        runs += 1

    made = []
    with ExitStack() as stack:
        if case:  # which may sample itself, to choose its steps
            stack.enter_context(case.switch(pipe))
        stack.callback(last_query(denoiser_of(pipe)).register_forward_pre_hook(count).remove)
        for shard in range(layout.num_shards):
            made += make_batch(subject, layout, shard)
    stacked = hasattr(pipe, "unet")  # both branches of guidance in one call
    branches = 2 if subject.settings.guidance_scale > 1 and not stacked else 1
    return np.stack(made), runs / layout.num_shards / branches


def layout_of(subject: Subject, steps: int) -> Layout:
    """Return the layout of its samples, each shard of which is a batch."""
    captions = subject.captions()
    table = PromptTable(PromptSource("captions"), captions, Places(("captions",), (0,), range(len(captions))))
    size = MODELS[subject.name].batch
    return Layout(table, replace(subject.settings, num_inference_steps=steps), subject.seed, 1, size, size)


def make_batch(subject: Subject, layout: Layout, shard: int) -> list[np.ndarray]:
    """Make the samples of one shard of ``layout_of`` as the pipeline is: uint8 each."""
    made = []
    for result in subject.pipeline(layout.batches(shard)[0]):
        if isinstance(result, Failure):
            raise RuntimeError(f"a sample of the benchmark failed: {result.reason}")
        made.append(result.media)
    return made
