"""What follows from a rehearsal on cards by name: arithmetic on made-up models."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.base.times import GENERATES
from jobs.options.cards import CARDS, Card
from jobs.options.degrees import Degrees
from jobs.rehearse.cards import (
    largest_batch,
    memory_of,
    offload_on,
    seconds_on,
    shards_in_a_task,
)
from jobs.rehearse.counting import Work
from jobs.rehearse.rehearsal import DECODE, DENOISE, ENCODE, Part, Rehearsal
from jobs.report.dryrun import steps_of
from jobs.run.run import Run
from tests.support import resolved

GB = 10**9
CARD = Card("a card", 100.5 * GB / 2**30 / 0.92, 1000, 1.0)  # of which a little over 100 GB can be filled
MADE_UP = Rehearsal(
    batch=2,
    parts=(
        Part("text_encoder", "T", 0, 20 * GB, ENCODE),
        Part("transformer", "D", 0, 30 * GB, DENOISE),
        Part("vae", "V", 0, 1 * GB, DECODE),
    ),
    encode=Work(1, 10**12, 1 * GB),
    evaluated=Work(1, 100 * 10**12, 8 * GB),
    forecast=Work(1, 10**12, 2 * GB),
    growth=0,
    row=GB,
    decode=Work(1, 20 * 10**12, 40 * GB),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "p.txt").write_text("a cat\n")
    return resolved(
        "model=demo",
        f"prompt_file={tmp_path}/p.txt",
        "algo.w=1",
        "flex_window=3",
        "model.dtype=bfloat16",
        "shard_size=9",
    )


def test_memory_grows_with_the_batch_and_not_with_the_weights(run: Run):
    assert steps_of(run).evaluated == steps_of(run).rows == 10 and steps_of(run).forecast == 40
    two, four = memory_of(run, MADE_UP, 2), memory_of(run, MADE_UP, 4)
    assert two.weights == four.weights == 51 * GB
    assert two.history == 10 * GB and two.denoising == 18 * GB and two.decoding == 40 * GB and two.encoding == GB
    assert (four.history, four.denoising, four.decoding) == (20 * GB, 36 * GB, 80 * GB)
    assert two.peak == 91 * GB
    assert largest_batch(run, MADE_UP, CARD) == 2


def test_a_history_in_main_memory_is_not_on_the_card(run: Run):
    algo = replace(run.options.algo, history_device="cpu")
    there = memory_of(replace(run, options=replace(run.options, algo=algo)), MADE_UP, 2)
    here = memory_of(run, MADE_UP, 2)
    assert (there.history, there.main) == (here.main, here.history) == (0, 10 * GB)
    assert there.denoising == here.denoising - 10 * GB


def test_tiles_are_decoded_one_sample_at_a_time(run: Run):
    options = replace(run.options, model=replace(run.options.model, vae_tiling=True))
    assert memory_of(replace(run, options=options), MADE_UP, 4).decoding == 40 * GB


@pytest.mark.parametrize(
    ("usable", "offload"),
    # One sample: 51 of weights and 20 to decode it; 30 and 9 to denoise; 1 and 20; the largest peak alone.
    [(71, "none"), (70, "model"), (39, "model"), (38, "group"), (21, "group"), (20, "sequential"), (19, None)],
)
def test_the_fastest_offload_that_fits_is_named(usable: int, offload: str | None, run: Run):
    card = replace(CARD, memory=(usable + 0.5) * GB / 2**30 / 0.92)
    assert offload_on(run, MADE_UP, card) == offload


def test_seconds_are_of_arithmetic_and_of_reading_histories(run: Run):
    flops = (10 * 100 + 40 * 1 + 1 + 20) * 10**12
    read = 40 * 10 * GB
    assert seconds_on(run, MADE_UP, CARD, 0.5) == pytest.approx((flops / (0.5 * 10**15) + read / 10**12) / 2)
    single = replace(run, options=replace(run.options, model=replace(run.options.model, dtype="float32")))
    assert seconds_on(single, MADE_UP, CARD) is None
    assert shards_in_a_task(run, 10.0) == GENERATES / 90 == 20 and shards_in_a_task(run, 10**6) == 1


def test_cards_are_in_the_order_of_their_memory():
    assert [card.memory for card in CARDS] == sorted(card.memory for card in CARDS)


def test_ranks_share_features_and_have_outputs_whole(run: Run):
    shared = replace(run.options, parallel=Degrees(ulysses=2))
    features = replace(run, options=shared)
    outputs = replace(run, options=replace(shared, algo=replace(shared.algo, target="output")))
    assert memory_of(features, MADE_UP, 2).history == 5 * GB and memory_of(outputs, MADE_UP, 2).history == 10 * GB
