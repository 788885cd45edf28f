"""A cause that all samples share ends a process early, and is not put down to any of them."""

import json
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.execute.alike import MOST, Alike
from jobs.execute.shard import make_shard
from jobs.media.image import ImageFormat
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.writer import Writer
from tests.execute.test_batch import StandIn
from tests.support import generate, new_run, write_prompts


def new(folder: Path, *more: str, prompts: int = 24) -> Run:
    file = write_prompts(folder / "prompts.txt", prompts)
    return new_run(folder, f"prompt_file={file}", "shard_size=12", "batch_size=2", "algo.w=0.5", *more)


def process(run: Run, generator: StandIn) -> list[tuple[str, str]]:
    """One process at all shards; returns what it reported, and lets go on what ended it."""
    told: list[tuple[str, str]] = []
    writer = Writer(
        run.layout, ImageFormat("png", 95), {}, sample_attempts=2, in_flight=8,
        report=lambda event, shard, detail: told.append((event, detail)),
    )  # fmt: skip
    alike = Alike(run)
    try:
        for shard in run.unfinished():
            attempt = Attempt(run.directory, shard, fingerprint="same", device="cpu", log="")
            make_shard(generator, run, attempt, writer, alike=alike)
    finally:
        writer.close()
    return told


def strikes(run: Run) -> dict[int, int]:
    attempt = Attempt(run.directory, 0, fingerprint="same", device="cpu", log="")
    return {index: count for index, count in attempt.strikes.items() if count}


def always(indices: list[int], call: int) -> Exception:
    return ValueError(f"no, for the {call}th time")


def test_what_fails_every_sample_is_told_after_a_few_and_gives_up_none(tmp_path: Path) -> None:
    run = new(tmp_path)
    generator = StandIn(always)
    with pytest.raises(BadInput, match=f"the samples of the first {MOST} prompts all failed for one reason"):
        process(run, generator)
    assert generator.calls == MOST // 2 * 3  # in pairs, and each alone
    assert not strikes(run)
    told = process(run, StandIn(lambda indices, call: None))  # mended
    assert [event for event, _ in told].count("sample") == 24 and run.directory.done_shards() == {0, 1}


@pytest.mark.parametrize(
    "bad",
    [
        range(MOST - 1),  # then one is made
        range(1, 24),  # one was made before
    ],
)
def test_bad_samples_are_given_up_where_others_are_made(tmp_path: Path, bad: range) -> None:
    run = new(tmp_path)
    for _ in range(2):
        told = process(run, StandIn(lambda indices, call: ValueError("no") if {*indices} & {*bad} else None))
        assert [event for event, _ in told].count("failed") == len(bad)
    assert 0 in run.directory.done_shards()


def test_different_reasons_are_the_samples_own(tmp_path: Path) -> None:
    told = process(new(tmp_path), StandIn(lambda indices, call: ValueError("no" if indices[0] % 2 else "not this")))
    assert [event for event, _ in told].count("failed") == 24


def test_a_few_bad_samples_are_given_up_though_there_are_no_others(tmp_path: Path) -> None:
    run = new(tmp_path, prompts=MOST - 1)
    for _ in range(2):
        process(run, StandIn(always))
    assert strikes(run) == dict.fromkeys(range(MOST - 1), 2)


def test_where_another_process_makes_samples_bad_ones_are_bad(tmp_path: Path) -> None:
    run = new(tmp_path)
    process_at_last = StandIn(lambda indices, call: None if indices[0] >= 12 else ValueError("no"))
    attempt = Attempt(run.directory, 1, fingerprint="same", device="cpu", log="")
    writer = Writer(run.layout, ImageFormat("png", 95), {}, sample_attempts=2, in_flight=8, report=lambda *_: None)
    make_shard(process_at_last, run, attempt, writer)
    writer.close()
    told = process(run, process_at_last)
    assert [event for event, _ in told].count("failed") == 12


def test_repeats_of_one_bad_prompt_are_its_own(tmp_path: Path) -> None:
    run = new(tmp_path, f"samples_per_prompt={MOST}", prompts=MOST)
    for _ in range(2):
        told = process(run, StandIn(lambda indices, call: ValueError("no") if indices[0] < MOST else None))
        assert [event for event, _ in told].count("failed") == MOST
    assert run.directory.done_shards() == {*range(run.layout.num_shards)}


def test_small_shards_are_given_up_no_sooner(tmp_path: Path) -> None:
    run = new(tmp_path, "shard_size=4")
    for _ in range(3):
        with pytest.raises(BadInput, match="all failed for one reason"):
            process(run, StandIn(always))
    assert not strikes(run)
    process(run, StandIn(lambda indices, call: None))  # mended
    assert run.directory.done_shards() == {*range(6)}


def test_a_pass_over_failed_samples_tries_them_all(tmp_path: Path) -> None:
    bad = {*range(1, 20)}
    run = new(tmp_path)
    for _ in range(2):
        process(run, StandIn(lambda indices, call: ValueError("no") if {*indices} & bad else None))
    again = new(tmp_path, "retry_failed=true")
    told = process(again, StandIn(lambda indices, call: ValueError("no") if {*indices} & {*range(1, 15)} else None))
    assert [event for event, _ in told].count("failed") == 14


@pytest.mark.slow
def test_an_option_that_the_scheduler_finds_wrong_costs_a_few_samples(tmp_path: Path) -> None:
    file = write_prompts(tmp_path / "prompts.txt", 40)
    given = ("model=demo-unet", f"prompt_file={file}", f"output_base_path={tmp_path}", "exp_name=run", "batch_size=4")
    wrong = ("num_inference_steps=3", "+model.scheduler_args.prediction_type=foo")
    done = generate(*given, *wrong, "algo=nocache")
    assert done.returncode == 1
    sentence = f"the samples of the first {MOST} prompts all failed for one reason, so no others were tried: ValueError"
    assert sentence in done.stdout + done.stderr
    assert "sample 0000" not in done.stdout, "none is to blame"
    journals = [path.read_text().splitlines() for path in (tmp_path / "run/work").glob("*.jsonl")]
    assert not [
        line for lines in journals for line in lines if "error" in json.loads(line) and "index" in json.loads(line)
    ]
