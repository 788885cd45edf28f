"""What a run consists of: samples, their seeds, batches and shards. Pure; the same on every machine.

A sample is one repeat of one prompt. Samples are numbered prompt by prompt (index = prompt * repeats + repeat),
a shard is a contiguous range of them, and a batch a run of neighbours within one shard that share size, steps and
guidance. Nothing here depends on where an attempt began or on how many workers there are, so that a resumed
shard goes through the same batches, hence the same arithmetic, as one that was never interrupted.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import BadInput
from jobs.prompts import PromptTable


@dataclass(frozen=True)
class Sample:
    """One picture or clip to make. ``height`` and ``width`` in pixels; ``seed`` below 2^63; a picture has one frame."""

    index: int
    key: str
    prompt_index: int
    repeat: int
    prompt: str
    negative_prompt: str
    seed: int
    height: int
    width: int
    num_frames: int
    num_inference_steps: int
    guidance_scale: float
    id: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def batch_settings(self) -> tuple[int, int, int, int, float, bool]:
        """What the samples of one pipeline call must share."""
        size = self.height, self.width, self.num_frames
        return *size, self.num_inference_steps, self.guidance_scale, bool(self.negative_prompt)


def sample_seed(run_seed: int, prompt_index: int, repeat: int) -> int:
    """Seed of a sample: 63 bits of SHA-256 over run seed, prompt index and repeat, and nothing else.

    PyTorch's CPU generator starts from the low 32 bits of a seed, so two samples of a very large run can draw the
    same noise; with different prompts that is harmless, and repeats of one prompt are far too few to meet.
    """
    digest = hashlib.sha256(f"{run_seed}/{prompt_index}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Plan:
    """All samples of a run, made on demand from the prompt table.

    Attributes:
        table: the prompts.
        defaults: height, width, num_frames, num_inference_steps, guidance_scale and negative_prompt of a prompt that
            names none.
        seed: the run's seed.
    """

    table: PromptTable
    defaults: dict[str, Any]
    seed: int
    samples_per_prompt: int
    shard_size: int
    batch_size: int

    @property
    def num_samples(self) -> int:
        return len(self.table) * self.samples_per_prompt

    @property
    def num_shards(self) -> int:
        return -(-self.num_samples // self.shard_size)

    def shard_range(self, shard: int) -> range:
        """Sample indices of a shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.num_samples))

    def sample(self, index: int) -> Sample:
        """Sample ``index``. A prompt's own seed is that of its first repeat; later repeats count up from it."""
        prompt_index, repeat = divmod(index, self.samples_per_prompt)
        own = {
            name: values[prompt_index]
            for name, values in self.table.settings.items()
            if values[prompt_index] is not None
        }
        seed = own["seed"] + repeat if "seed" in own else sample_seed(self.seed, prompt_index, repeat)
        value = {**self.defaults, **own}
        return Sample(
            index=index,
            key=f"{prompt_index:08d}_{repeat:04d}",
            prompt_index=prompt_index,
            repeat=repeat,
            prompt=self.table.texts[prompt_index],
            negative_prompt=value["negative_prompt"],
            seed=seed % 2**63,
            height=value["height"],
            width=value["width"],
            num_frames=value["num_frames"],
            num_inference_steps=value["num_inference_steps"],
            guidance_scale=float(value["guidance_scale"]),
            id=value.get("id", ""),
            metadata={name: values[prompt_index] for name, values in self.table.metadata.items()},
        )

    def batches(self, shard: int) -> list[list[Sample]]:
        """The shard's samples in order, cut into batches of at most ``batch_size`` that share their settings."""
        batches: list[list[Sample]] = []
        for index in self.shard_range(shard):
            sample = self.sample(index)
            last = batches[-1] if batches else []
            if last and len(last) < self.batch_size and last[0].batch_settings == sample.batch_settings:
                last.append(sample)
            else:
                batches.append([sample])
        return batches


def shard_name(shard: int) -> str:
    """Five digits, more for shards beyond 99,999: the stem of every file of the shard."""
    return f"{shard:05d}"


def parse_shards(text: str, num_shards: int) -> list[int]:
    """Read a list like ``0-3,7`` (both ends included).

    Raises:
        BadInput: not of that form, or beyond the run's last shard.
    """
    shards: list[int] = []
    for part in str(text).replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"shards must look like [0-3,7], not '{text}'")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise BadInput(f"shards={text} ends before it begins: write '{high}-{low}'")
        if high >= num_shards:
            raise BadInput(f"shards={text} must lie within this run's shards, which are 0-{num_shards - 1}")
        shards.extend(range(low, high + 1))
    return sorted(set(shards))


def format_shards(shards: list[int]) -> str:
    """The inverse of ``parse_shards`` for a sorted list: ``[0, 1, 2, 7]`` -> ``0-2,7``."""
    parts: list[list[int]] = []
    for shard in shards:
        if parts and parts[-1][1] == shard - 1:
            parts[-1][1] = shard
        else:
            parts.append([shard, shard])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
