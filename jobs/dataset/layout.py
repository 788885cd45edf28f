"""What a run consists of: samples, their seeds, batches and shards. Pure; the same on every machine.

A sample is one repeat of one prompt. Samples are numbered (``jobs.dataset.numbering``), a shard is a contiguous range
of them, and a batch some samples of one shard that share size, steps and guidance.
Nothing here depends on where an attempt began or on how many workers there are, so that a resumed shard goes through
the same batches, hence the same arithmetic, as one that was never interrupted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from jobs.dataset.numbering import Numbering, Raise
from jobs.dataset.prompts import PromptTable
from jobs.dataset.shards import Shards
from jobs.options.model import SampleOptions

_STRIDE = 0x9E3779B1  # odd
_ALIKE_IN_A_BATCH = [one.name for one in fields(SampleOptions) if one.metadata["shared_by_batch"]]


@dataclass(frozen=True)
class Sample:
    """One image or clip to make; ``seed`` is below 2^32."""

    index: int
    key: str
    prompt_index: int
    repeat: int
    prompt: str
    seed: int
    options: SampleOptions
    id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def batch_settings(self) -> tuple[Any, ...]:
        """What the samples of one pipeline call must share, and whether there are negative prompts at all."""
        return *(getattr(self.options, name) for name in _ALIKE_IN_A_BATCH), bool(self.options.negative_prompt)


def sample_seed(run_seed: int, prompt_index: int, repeat: int) -> int:
    """Return the seed of a sample, below 2^32: it follows from run seed, prompt index and repeat, and nothing else.

    PyTorch's CPU generator starts from 32 bits, and JSON tools keep them, which of 64 bits they do not. The repeats of
    one prompt have different seeds for certain: an odd stride meets every 32-bit number once. Different prompts of a
    large run may share a seed, which is harmless.
    """
    digest = hashlib.sha256(f"{run_seed}/{prompt_index}".encode()).digest()
    return (int.from_bytes(digest[:4], "big") + repeat * _STRIDE) % 2**32


@dataclass(frozen=True)
class Layout:
    """All samples of a run, made on demand from the prompt table.

    Attributes:
        table: the prompts.
        defaults: the per-sample options of a prompt that sets none itself.
        seed: the run's seed.
        key_prefix: what every key begins with.
        only: the samples that there are; None: all. Others are left out of shards, and keep their numbers.
        raised: what there was each time that ``samples_per_prompt`` was raised.
    """

    table: PromptTable
    defaults: SampleOptions
    seed: int
    samples_per_prompt: int
    shard_size: int
    batch_size: int
    key_prefix: str = ""
    only: tuple[int, ...] | None = None
    raised: tuple[Raise, ...] = ()

    @cached_property
    def numbering(self) -> Numbering:
        """The numbers of all samples, those that are left out among them."""
        return Numbering(len(self.table), self.samples_per_prompt, self.shard_size, self.raised)

    @cached_property
    def shards(self) -> Shards:
        """The shards, of the samples that are not left out."""
        return self.numbering.shards if self.only is None else Shards([len(self.only)], self.shard_size)

    @property
    def num_samples(self) -> int:
        return self.shards.num_samples

    @property
    def num_shards(self) -> int:
        return self.shards.num_shards

    @property
    def began_with(self) -> int:
        """How many samples of each prompt the run began with."""
        return self.raised[0].samples_per_prompt if self.raised else self.samples_per_prompt

    def shard_range(self, shard: int) -> Sequence[int]:
        """Return the sample indices of a shard, in order."""
        places = self.shards.shard_range(shard)
        return places if self.only is None else self.only[places.start : places.stop]

    def shard_of(self, index: int) -> int | None:
        """Return the shard of sample ``index``; None where it is left out."""
        if self.only is None:
            return self.shards.shard_of(index)
        return self.shards.shard_of(self.only.index(index)) if index in self.only else None

    def sample(self, index: int) -> Sample:
        """Return sample ``index``. A prompt's own seed is that of its first repeat; later repeats count up from it."""
        prompt_index, repeat = self.numbering.place(index)
        own = self.table.own_settings(prompt_index)
        seed = own.pop("seed", None)
        seed = sample_seed(self.seed, prompt_index, repeat) if seed is None else seed + repeat
        return Sample(
            index=index,
            key=f"{self.key_prefix}{prompt_index:08d}_{repeat:04d}",
            prompt_index=prompt_index,
            repeat=repeat,
            prompt=self.table.texts[prompt_index],
            seed=seed % 2**32,
            id=own.pop("id", ""),
            options=replace(self.defaults, **own) if own else self.defaults,
            metadata={name: values[prompt_index] for name, values in self.table.metadata.items()},
        )

    def batches(self, shard: int) -> list[list[Sample]]:
        """Return the shard's samples in batches of at most ``batch_size`` that share their settings.

        Each batch is in order, and batches are in the order of their first samples: where prompts of several sizes are
        mixed, those of one size are made together.
        """
        batches: list[list[Sample]] = []
        open_ones: dict[Any, list[Sample]] = {}  # by what they share, the batch that has room
        for index in self.shard_range(shard):
            sample = self.sample(index)
            batch = open_ones.get(sample.batch_settings)
            if batch is None or len(batch) == self.batch_size:
                batch = open_ones[sample.batch_settings] = []
                batches.append(batch)
            batch.append(sample)
        return batches

    @property
    def is_mixed(self) -> bool:
        """Whether prompts set anything that parts batches."""
        return bool({*_ALIKE_IN_A_BATCH, "negative_prompt"} & self.table.settings.keys())
