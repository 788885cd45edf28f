"""Bytes per second of the runner's writing, against a plain write and against ``webdataset.ShardWriter``.

Every candidate writes the same samples, whose pictures are random bytes that need no encoding. The runner's path
hashes each sample for its journal and the whole tar for its done record, fsyncs, reads the tar back from the disk,
compares, and publishes; the others only write.
"""

import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs.dataset.layout import Layout
from jobs.dataset.prompts import Places, PromptTable
from jobs.dataset.record import sample_json, sample_members
from jobs.dataset.source import PromptSource
from jobs.media.image import ImageFormat
from jobs.options.model import SampleOptions
from jobs.store.attempt import Attempt
from jobs.store.publish import finish
from jobs.store.rundir import RunDir
from jobs.store.tar import sample_bytes
from jobs.store.writer import Writer
from tools.benchmarks.common.timing import median_seconds

POOL = 16  # different pictures
COMMON = {
    "model": "flux",
    "revision": "0123456789abcdef",
    "scheduler": "FlowMatchEulerDiscreteScheduler",
    "dtype": "bfloat16",
    "versions": {"torch": "2.13.0", "diffusers": "0.42.1", "transformers": "5.23.0", "numpy": "2.4.6"},
}
HOW = {
    "evaluated_steps": 14,
    "algo": {"name": "spectrum", "w": 0.5, "lam": 0.1, "m": 4, "warmup_steps": 5, "window_size": 2},
    "flagged": False,
}
REFERENCE = "wds.ShardWriter"


@dataclass(frozen=True)
class WriterSizes:
    """``pictures`` are (extension, bytes); ``total`` is about how many bytes are written in ``shards`` tars."""

    pictures: tuple[tuple[str, int], ...] = (("jpg", 100_000), ("png", 1_500_000))
    total: int = 500_000_000
    shards: int = 4
    repeats: int = 5


@dataclass(frozen=True)
class Ready(ImageFormat):
    """Pictures that are encoded already; the array handed to the writer only holds a picture's number."""

    pool: list[bytes] = field(default_factory=list)

    def encode(self, image: np.ndarray, parameters: str = "") -> bytes:
        return self.pool[int(image[0])]


class Dataset:
    """A few shards' samples, and the ways to write them, each into an empty directory."""

    def __init__(self, extension: str, size: int, count: int, shards: int):
        self.format = Ready(extension, 95, pool=[os.urandom(size) for _ in range(POOL)])
        texts = [f"a red boat under old wooden heavy clouds at sunset with warm light on {i}" for i in range(count)]
        table = PromptTable(PromptSource("prompts.txt"), texts, Places(("prompts.txt",), (0,), range(1, count + 1)))
        defaults = SampleOptions(
            num_inference_steps=50, height=1024, width=1024, num_frames=1, guidance_scale=3.5, negative_prompt=""
        )
        self.layout = Layout(table, defaults, 0, 1, -(-count // shards), 4)
        self.samples = [self.layout.sample(index) for index in range(count)]
        self.members = [
            sample_members(one, self.picture(one.index), extension, sample_json(one, COMMON, HOW, shard=0))
            for one in self.samples
        ]
        self.bytes = sum(len(data) for members in self.members for data in members.values())

    def picture(self, index: int) -> bytes:
        return self.format.pool[index % POOL]

    def plain(self, folder: Path) -> None:
        self._plain(folder, sync=False)

    def plain_synced(self, folder: Path) -> None:
        self._plain(folder, sync=True)

    def _plain(self, folder: Path, sync: bool) -> None:
        for shard in range(self.layout.num_shards):
            with open(folder / str(shard), "wb", buffering=0) as file:
                for index in self.layout.shard_range(shard):
                    for data in self.members[index].values():
                        file.write(data)
                if sync:
                    os.fsync(file.fileno())

    def shard_writer(self, folder: Path) -> None:
        import webdataset as wds

        pattern, count = str(folder / "%05d.tar"), self.layout.shard_size
        with wds.ShardWriter(pattern, maxcount=count, maxsize=1e12, encoder=False, verbose=0) as sink:
            for sample, members in zip(self.samples, self.members, strict=True):
                sink.write({"__key__": sample.key, **members})

    def attempt(self, folder: Path) -> None:
        run = self._new_run(folder)
        for shard in range(self.layout.num_shards):
            attempt = _attempt(run, shard)
            for index in self.layout.shard_range(shard):
                key, members = self.samples[index].key, self.members[index]
                names = [f"{key}.{extension}" for extension in members]
                attempt.append(index, names, sample_bytes(key, members), media_sha256="0" * 64, seconds=1.0)
            finish(attempt, self.layout, 1)

    def writer(self, folder: Path) -> None:
        run = self._new_run(folder)
        writer = Writer(self.layout, self.format, COMMON, sample_attempts=1, in_flight=20, report=lambda *_: None)
        for shard in range(self.layout.num_shards):
            attempt = _attempt(run, shard)
            writer.start(attempt)
            for index in self.layout.shard_range(shard):
                writer.add(attempt, self.samples[index], np.array([index % POOL]), HOW, 1.0)
            writer.finish(attempt)
        writer.close()

    def _new_run(self, folder: Path) -> RunDir:
        run = RunDir(folder)
        run.make_folders()
        run.create({"samples": self.layout.num_samples, "shard_size": self.layout.shard_size}, "")
        return run


def _attempt(run: RunDir, shard: int) -> Attempt:
    return Attempt(run, shard, fingerprint="", device="cpu", log="")


def measure(scratch: Path, sizes: WriterSizes) -> dict[str, Any]:
    """Measure rate (MB/s) and CPU seconds of every candidate: medians over repeats in which they take turns."""
    import pyarrow.parquet  # noqa: F401 (the first import is not the writer's work)
    import webdataset  # noqa: F401

    pictures = []
    for extension, size in sizes.pictures:
        dataset = Dataset(extension, size, max(sizes.shards, sizes.total // size), sizes.shards)
        pictures.append(
            {
                "extension": extension,
                "picture_bytes": size,
                "samples": len(dataset.samples),
                "shards": dataset.layout.num_shards,
                "bytes": dataset.bytes,
                "candidates": _compare(scratch, dataset, sizes.repeats),
            }
        )
    return {"repeats": sizes.repeats, "sha256_seconds_per_gb": _hashing(), "pictures": pictures}


def _hashing(size: int = 20_000_000) -> float:
    """Return the seconds of a core that SHA-256 takes for a GB."""
    data = bytes(size)
    _, seconds = median_seconds(lambda: hashlib.sha256(data).digest(), 5, time.thread_time)
    return seconds / size * 1e9


def _compare(scratch: Path, dataset: Dataset, repeats: int) -> list[dict[str, Any]]:
    ways: dict[str, Callable[[Path], None]] = {
        "plain write, no fsync": dataset.plain,
        "plain write, fsync": dataset.plain_synced,
        REFERENCE: dataset.shard_writer,
        "Attempt and finish, one thread": dataset.attempt,
        "Writer, as a worker does": dataset.writer,
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in ways.items():
            folder = scratch / f"write-{repeat}"
            folder.mkdir()
            start, used = time.perf_counter(), time.process_time()
            way(folder)
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
            shutil.rmtree(folder)
    return [
        {
            "name": name,
            "mb_per_second": dataset.bytes / 1e6 / statistics.median(wall[name]),
            "ratio": statistics.median(a / b for a, b in zip(wall[REFERENCE], wall[name], strict=True)),
            "cpu_seconds_per_gb": statistics.median(cpu[name]) / (dataset.bytes / 1e9),
        }
        for name in ways
    ]
