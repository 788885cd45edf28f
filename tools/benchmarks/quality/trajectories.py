"""All-steps trajectories of many sentences, made once and kept on the disk: any draw of a calibration follows.

They are made batch by batch: what is on the disk is not made again.
"""

import io
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

import spectrum
from jobs.dataset.layout import Layout
from jobs.store.atomic import write_bytes
from tools.benchmarks.quality.sampling import MODELS, Subject, layout_of, make_batch, others

POOL_SEED = 20261129  # of the sentences that calibrations are drawn from, and of their noise
POOL = 128  # of them


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Some sentences with every step evaluated.

    Attributes:
        media: What was made, uint8 (n, ...).
        calibrations: What was recorded of each, features and outputs.
    """

    media: np.ndarray
    calibrations: list[spectrum.Calibration]


def pool(subject: Subject, count: int) -> Subject:
    """Return the first ``count`` of ``POOL`` other sentences, seen and held out combinations in turn, and other noise.

    None is one of the benchmark's, nor of those that ``others`` makes choices on.
    """
    domain, generator = subject.domain, torch.Generator().manual_seed(POOL_SEED)
    taken = {*subject.captions(), *others(subject, 100).captions()}
    halves = []
    for held_out in (False, True):
        fresh: dict[str, torch.Tensor] = {}
        for scene in domain.sample_scenes(20 * POOL, generator, held_out=held_out):
            fresh.setdefault(domain.caption(scene), scene)
        halves.append([scene for caption, scene in fresh.items() if caption not in taken][: POOL // 2])
    scenes = torch.stack([*chain.from_iterable(zip(*halves, strict=True))])
    return replace(subject, scenes=scenes[:count], seed=POOL_SEED)


def trajectories(subject: Subject, steps: int, folder: Path) -> Trajectories:
    """Make what is missing, batch by batch, and read all.

    Args:
        subject: The sentences.
        steps: Of each.
        folder: Holds a file for each batch, ``000.npz`` for the first; made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    layout, size = layout_of(subject, steps), MODELS[subject.name].batch
    parts = [
        _part(subject, layout, shard, steps, folder / f"{shard * size:03}.npz") for shard in range(layout.num_shards)
    ]
    media = np.concatenate([part["media"] for part in parts])
    features, outputs = (
        np.concatenate([_of_samples(part[target], len(part["media"])) for part in parts])
        for target in ("features", "output")
    )
    each = [spectrum.Calibration({steps: one}, {}, {steps: two}) for one, two in zip(features, outputs, strict=True)]
    return Trajectories(media, each)


def _of_samples(grams: np.ndarray, samples: int) -> np.ndarray:
    """Return one set of matrices a sample: the mean of the branches of guidance where one call has them one by one."""
    return grams.reshape(-1, samples, *grams.shape[1:]).mean(axis=0)


def _part(subject: Subject, layout: Layout, shard: int, steps: int, path: Path) -> dict[str, np.ndarray]:
    """Return one batch: its pixels, and the Gram matrices of each sample by target."""
    if not path.exists():
        with spectrum.Recorder(subject.pipeline.pipeline, targets=("features", "output")) as recorder:
            made = np.stack(make_batch(subject, layout, shard))
            each = recorder.trajectories()
        file = io.BytesIO()
        features, outputs = (np.stack([one.of(target)[steps] for one in each]) for target in ("features", "output"))
        np.savez(file, media=made, features=features, output=outputs)
        write_bytes(path, file.getvalue())
    with np.load(path) as part:
        return dict(part)
