"""Which number each sample of a run has, and which shard it is in. Pure arithmetic.

Samples are numbered prompt by prompt, and a shard is a contiguous range of them. Where a run goes on with a higher
``samples_per_prompt``, what it has by then is closed: the further repeats have shards of their own behind it, and
prompts that come later have shards behind these. So no sample changes its number, its shard or its batch:

    10 prompts, 1 sample of each    a block: prompts 0 to 9, repeat 0
    3 samples of each               a block: prompts 0 to 9, repeats 1 and 2
    5 prompts more                  a block: prompts 10 to 14, repeats 0 to 2; it grows with further prompts
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from jobs.dataset.shards import Shards


class Raise(NamedTuple):
    """What a run had when its ``samples_per_prompt`` was raised: so many prompts, and so many samples of each."""

    prompts: int
    samples_per_prompt: int


class Block(NamedTuple):
    """Neighbours in numbers and shards: these repeats of these prompts, prompt by prompt."""

    prompts: range
    repeats: range

    @property
    def samples(self) -> int:
        return len(self.prompts) * len(self.repeats)


@dataclass(frozen=True)
class Numbering:
    """The numbers of a run's samples.

    Attributes:
        prompts: how many there are.
        samples_per_prompt: how many samples of each.
        shard_size: samples of a shard; the last one of a block may have fewer.
        raised: what there was each time that ``samples_per_prompt`` was raised, oldest first.
    """

    prompts: int
    samples_per_prompt: int
    shard_size: int
    raised: Sequence[Raise] = ()

    @cached_property
    def blocks(self) -> list[Block]:
        """The blocks, in order."""
        return [block for block in self._blocks() if block.samples]

    def _blocks(self) -> Iterator[Block]:
        begun = 0
        for then, later in pairwise([*self.raised, Raise(self.prompts, self.samples_per_prompt)]):
            yield Block(range(begun, then.prompts), range(then.samples_per_prompt))
            yield Block(range(then.prompts), range(then.samples_per_prompt, later.samples_per_prompt))
            begun = then.prompts
        yield Block(range(begun, self.prompts), range(self.samples_per_prompt))

    @cached_property
    def shards(self) -> Shards:
        """The shards that they are in."""
        return Shards([block.samples for block in self.blocks], self.shard_size)

    def of(self, prompt: int, repeat: int) -> int:
        """Return the number of that repeat of that prompt; both must be there."""
        place, block = next(
            (place, block)
            for place, block in enumerate(self.blocks)
            if prompt in block.prompts and repeat in block.repeats
        )
        before = (prompt - block.prompts.start) * len(block.repeats)
        return self.shards.first_samples[place] + before + repeat - block.repeats.start

    def place(self, sample: int) -> tuple[int, int]:
        """Return the prompt and the repeat of a sample."""
        at = self.shards.block_of(sample)
        prompt, repeat = divmod(sample - self.shards.first_samples[at], len(self.blocks[at].repeats))
        return self.blocks[at].prompts[prompt], self.blocks[at].repeats[repeat]
