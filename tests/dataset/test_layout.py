"""The layout: which samples there are, with which seeds, in which batches and shards."""

from itertools import chain, product
from typing import Any

import pytest

from jobs.base.errors import BadInput
from jobs.dataset.layout import Layout, Sample, sample_seed
from jobs.dataset.prompts import Places, PromptTable
from jobs.dataset.shards import format_shards, parse_shards, shard_name
from jobs.dataset.source import PromptSource
from jobs.options.model import SampleOptions

DEFAULTS = SampleOptions(
    num_inference_steps=50, height=64, width=64, num_frames=1, guidance_scale=1.0, negative_prompt=""
)


def table(count: int, settings: dict[str, list[Any]] | None = None, **metadata: list[Any]) -> PromptTable:
    texts = [f"prompt {number}" for number in range(count)]
    places = Places(("p.jsonl",), (0,), range(1, count + 1))
    return PromptTable(PromptSource("p.jsonl"), texts, places, settings or {}, metadata)


def layout(
    prompts: PromptTable | int = 10,
    *,
    seed: int = 0,
    samples_per_prompt: int = 1,
    shard_size: int = 4,
    batch_size: int = 2,
) -> Layout:
    prompts = table(prompts) if isinstance(prompts, int) else prompts
    return Layout(prompts, DEFAULTS, seed, samples_per_prompt, shard_size, batch_size)


def samples(one: Layout) -> list[Sample]:
    return [one.sample(index) for index in range(one.num_samples)]


def seeds(one: Layout) -> dict[tuple[int, int], int]:
    return {(sample.prompt_index, sample.repeat): sample.seed for sample in samples(one)}


# --- seeds


# Written down once: a change here gives everybody's unfinished runs other pictures.
KNOWN_SEEDS = [(0, 0, 0, 1427366890), (0, 0, 1, 4081802651), (7, 123456, 3, 259229375)]


@pytest.mark.parametrize(("run_seed", "prompt", "repeat", "seed"), KNOWN_SEEDS)
def test_seeds_never_change(run_seed: int, prompt: int, repeat: int, seed: int):
    assert sample_seed(run_seed, prompt, repeat) == seed


@pytest.mark.parametrize(
    ("shard_size", "batch_size", "samples_per_prompt"), list(product([1, 3, 7, 1000], [1, 2, 5], [1, 2, 3]))
)
def test_seeds_depend_on_run_seed_prompt_and_repeat_alone(shard_size: int, batch_size: int, samples_per_prompt: int):
    other = layout(10, seed=5, samples_per_prompt=samples_per_prompt, shard_size=shard_size, batch_size=batch_size)
    assert seeds(other) == {
        (prompt, repeat): sample_seed(5, prompt, repeat) for prompt in range(10) for repeat in range(samples_per_prompt)
    }


def test_seeds_do_not_depend_on_other_prompts_or_the_text():
    long, short = layout(10), layout(table(3, n=["x", "y", "z"]))
    assert [long.sample(index).seed for index in range(3)] == [sample.seed for sample in samples(short)]


def test_seeds_fit_32_bits_and_use_them_all():
    made = [
        sample_seed(run, prompt, repeat)
        for run, prompt, repeat in product((0, 1, 10, 2**32 - 1), range(300), range(12))
    ]
    assert min(made) >= 0 and 2**31 < max(made) < 2**32
    # Drawn at random, 14,400 numbers of 32 bits meet 0.02 times; also (1, 11) from (11, 1): the parts are kept apart.
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("prompt", [0, 1, 77, 123456])
def test_all_repeats_that_a_prompt_may_have_differ(prompt: int):
    assert len({sample_seed(3, prompt, repeat) for repeat in range(9999)}) == 9999


def test_a_json_tool_that_reads_doubles_gives_the_seeds_back():
    made = [sample_seed(0, prompt, repeat) for prompt, repeat in product(range(100), range(3))]
    assert [int(float(seed)) for seed in made] == made


def test_a_prompts_own_seed_counts_up_over_its_repeats_and_stays_below_2_to_the_32():
    own = layout(table(3, {"seed": [7, None, 2**32 - 1]}), samples_per_prompt=2, seed=3)
    assert [sample.seed for sample in samples(own)] == [
        *(7, 8),
        *(sample_seed(3, 1, 0), sample_seed(3, 1, 1)),
        *(2**32 - 1, 0),
    ]


# --- samples


def test_samples_are_numbered_prompt_by_prompt():
    made = samples(layout(3, samples_per_prompt=2))
    assert [(sample.index, sample.prompt_index, sample.repeat, sample.prompt) for sample in made] == [
        (0, 0, 0, "prompt 0"),
        (1, 0, 1, "prompt 0"),
        (2, 1, 0, "prompt 1"),
        (3, 1, 1, "prompt 1"),
        (4, 2, 0, "prompt 2"),
        (5, 2, 1, "prompt 2"),
    ]


def test_keys_are_unique_sort_as_the_samples_and_hold_no_dot():
    keys = [sample.key for sample in samples(layout(1200, samples_per_prompt=11))]
    assert len(set(keys)) == len(keys) == 13200
    assert keys == sorted(keys)
    assert not any("." in key or "/" in key for key in keys)  # webdataset splits a member's name at its first dot


OVERRIDES = [
    ("height", 128, "height"),
    ("width", 32, "width"),
    ("num_inference_steps", 4, "num_inference_steps"),
    ("guidance_scale", 2.5, "guidance_scale"),
    ("negative_prompt", "blurry", "negative_prompt"),
    ("id", "first", "id"),
    ("seed", 17, "seed"),
]
PLAIN = {**vars(DEFAULTS), "id": "", "seed": sample_seed(0, 1, 0)}


def settings(sample: Sample) -> dict[str, Any]:
    return {**vars(sample.options), "id": sample.id, "seed": sample.seed}


@pytest.mark.parametrize(("column", "value", "attribute"), OVERRIDES, ids=[case[0] for case in OVERRIDES])
def test_a_prompts_settings_reach_its_samples_and_no_others(column: str, value: Any, attribute: str):
    overridden, plain = samples(layout(table(2, {column: [value, None]})))
    assert settings(overridden)[attribute] == value
    assert settings(plain) == PLAIN
    others = PLAIN.keys() - {attribute, "seed"}
    assert {name: settings(overridden)[name] for name in others} == {name: PLAIN[name] for name in others}


def test_metadata_travels():
    made = samples(layout(table(2, score=[1, 2], source=["x", ""])))
    assert [sample.metadata for sample in made] == [{"score": 1, "source": "x"}, {"score": 2, "source": ""}]


# --- shards


@pytest.mark.parametrize(
    ("prompts", "repeats", "shard_size", "shards"),
    [(1, 1, 1, 1), (1, 1, 100, 1), (10, 1, 5, 2), (11, 1, 5, 3), (5, 3, 4, 4), (7, 2, 14, 1), (7, 2, 13, 2)],
)
def test_shards_partition_the_samples(prompts: int, repeats: int, shard_size: int, shards: int):
    one = layout(prompts, samples_per_prompt=repeats, shard_size=shard_size)
    assert one.num_shards == shards
    ranges = [one.shard_range(shard) for shard in range(shards)]
    assert list(chain(*ranges)) == list(range(prompts * repeats))
    assert all(len(part) == shard_size for part in ranges[:-1]) and 1 <= len(ranges[-1]) <= shard_size


SETTINGS: dict[str, list[Any]] = {
    "height": [None, None, None, 128, 128, None, None, 128, None, None, None],
    "guidance_scale": [None, 1.0, None, None, None, None, 4.0, None, None, None, None],
    "num_inference_steps": [None, None, None, None, None, None, None, None, 8, 8, None],
    "seed": [1, None, 2, None, 3, None, 4, None, 5, None, 6],
}


@pytest.mark.parametrize(
    ("shard_size", "batch_size", "repeats"), list(product([1, 2, 3, 5, 100], [1, 2, 4, 100], [1, 3]))
)
def test_batches_cover_their_shard_and_never_mix(shard_size: int, batch_size: int, repeats: int):
    one = layout(table(11, SETTINGS), samples_per_prompt=repeats, shard_size=shard_size, batch_size=batch_size)
    for shard in range(one.num_shards):
        batches = one.batches(shard)
        made = [sample.index for batch in batches for sample in batch]
        assert sorted(made) == [*one.shard_range(shard)]
        assert [batch[0].index for batch in batches] == sorted(batch[0].index for batch in batches)
        for batch in batches:
            assert 1 <= len(batch) <= batch_size and batch == sorted(batch, key=lambda sample: sample.index)
            alike = [(s.options.height, s.options.num_inference_steps, s.options.guidance_scale) for s in batch]
            assert len(set(alike)) == 1
        short = [batch[0].batch_settings for batch in batches if len(batch) < batch_size]
        assert len(short) == len({*short})  # of samples that could be made together only the last batch has room


def test_a_negative_prompt_cuts_a_batch_and_a_seed_does_not():
    one = layout(table(4, {"negative_prompt": ["x", None, "y", ""], "seed": [1, None, 3, None]}), batch_size=4)
    assert [[sample.index for sample in batch] for batch in one.batches(0)] == [[0, 2], [1, 3]]
    assert one.is_mixed and not layout(table(4, {"seed": [1, None, 3, None]})).is_mixed


def test_shard_names_sort_and_grow():
    assert [shard_name(number) for number in (0, 7, 99999, 100000)] == ["00000", "00007", "99999", "100000"]


# --- lists of shards


@pytest.mark.parametrize(
    ("text", "shards"),
    [
        ("0", [0]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        ("7,0-3", [0, 1, 2, 3, 7]),
        ("3-3", [3]),
        (" 1 - 2 , 4 ", [1, 2, 4]),
        ("1,1-2,2", [1, 2]),
        ("009", [9]),
        (5, [5]),  # Hydra reads shards=5 as a number
    ],
)
def test_lists_of_shards_are_read(text: str, shards: list[int]):
    assert parse_shards(text, 10) == shards


@pytest.mark.parametrize(
    "shards", [[0], [0, 1], [0, 2], [3, 4, 5, 9], list(range(100)), list(range(0, 100, 3)), [1, 2, 4, 5, 99]]
)
def test_lists_of_shards_survive_being_written(shards: list[int]):
    assert parse_shards(format_shards(shards), 100) == shards


def test_lists_of_shards_are_written_short():
    assert format_shards([0, 1, 2, 7, 9, 10]) == "0-2,7,9-10"
    assert format_shards([]) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must look like"),
        ("abc", "must look like [0-3,7], not 'abc'"),
        ("1,", "must look like"),
        ("-1", "must look like"),
        ("1-", "must look like"),
        ("1-2-3", "must look like"),
        ("1.5", "must look like"),
        ("[1]", "must look like"),
        ("3-1", "ends before it begins: write '1-3'"),
        ("10", "must lie within this run's shards, which are 0-9"),
        ("5-10", "which are 0-9"),
        ("0-999999999999999", "which are 0-9"),  # refused before a list of that length is made
    ],
)
def test_bad_lists_of_shards_are_refused(text: str, message: str):
    with pytest.raises(BadInput, match=r"^shards") as caught:
        parse_shards(text, 10)
    assert message in str(caught.value)
