"""Numbers, shards and blocks of samples, also where ``samples_per_prompt`` was raised."""

from itertools import chain, pairwise

import pytest

from jobs.dataset.numbering import Block, Numbering, Raise

# What a run had at each command, (prompts, samples of each); shards of 4 samples.
HISTORIES = [
    [(10, 1)],
    [(10, 1), (10, 3)],
    [(10, 1), (10, 3), (15, 3)],
    [(10, 2), (12, 2), (12, 3), (12, 7), (13, 7), (20, 8)],
    [(3, 1), (5, 2), (5, 3), (9, 4)],
    [(1, 1), (1, 2), (1, 30)],
    [(8, 1), (8, 2)],  # whose blocks fill their shards
]


def numbering(history: list[tuple[int, int]]) -> Numbering:
    """The last state of a run, of which every raise is remembered."""
    raised = [Raise(*then) for then, later in pairwise(history) if later[1] > then[1]]
    return Numbering(*history[-1], 4, raised)


def test_blocks_are_as_the_module_says() -> None:
    assert numbering([(10, 1), (10, 3), (15, 3)]).blocks == [
        Block(range(10), range(1)),
        Block(range(10), range(1, 3)),
        Block(range(10, 15), range(3)),
    ]


@pytest.mark.parametrize("history", HISTORIES)
def test_every_repeat_of_every_prompt_has_one_number_and_one_shard(history: list[tuple[int, int]]) -> None:
    one = numbering(history)
    prompts, repeats = history[-1]
    assert one.shards.num_samples == prompts * repeats
    places = [one.place(sample) for sample in range(one.shards.num_samples)]
    assert sorted(places) == [(prompt, repeat) for prompt in range(prompts) for repeat in range(repeats)]
    assert [one.of(*place) for place in places] == list(range(one.shards.num_samples))
    ranges = [one.shards.shard_range(shard) for shard in range(one.shards.num_shards)]
    assert list(chain(*ranges)) == list(range(one.shards.num_samples))
    assert all(1 <= len(each) <= 4 for each in ranges)
    assert [one.shards.shard_of(sample) for each in ranges for sample in each] == [
        shard for shard, each in enumerate(ranges) for _ in each
    ]


@pytest.mark.parametrize("history", HISTORIES)
def test_what_a_run_has_keeps_its_number_and_its_shard(history: list[tuple[int, int]]) -> None:
    last = numbering(history)
    for count in range(1, len(history)):
        then = numbering(history[:count])
        for sample in range(then.shards.num_samples):
            assert (last.place(sample), last.shards.shard_of(sample)) == (
                then.place(sample),
                then.shards.shard_of(sample),
            )


def test_a_raise_closes_the_shards_that_are_there() -> None:
    one = numbering([(10, 1), (10, 3), (15, 3)])
    assert [len(one.shards.shard_range(shard)) for shard in range(one.shards.num_shards)] == [
        4,
        4,
        2,
        *[4] * 5,
        *[4] * 3,
        3,
    ]
