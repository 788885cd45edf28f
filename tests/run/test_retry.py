"""Another pass over what was given up: other shards, the same keys, and nothing published is touched."""

import json
import tarfile
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.media.image import ImageFormat
from jobs.regenerate.remake import find_sample, open_finished
from jobs.report.status import read_status, render
from jobs.run.open import check_task, create
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.writer import Writer
from tests.support import HOW, picture, resolved, tar_hashes, write_prompts


def opened(folder: Path, *more: str) -> Run:
    prompts = write_prompts(folder / "p.txt", 8)
    options = (f"prompt_file={prompts}", f"output_base_path={folder}", "exp_name=run", "shard_size=4")
    run = resolved(*options, "sample_attempts=1", *more)
    create(run)
    return run


def make(run: Run, *failing: int) -> None:
    """Make what is unfinished, as a worker does; some samples fail."""
    writer = Writer(run.layout, ImageFormat("png", 95), {"model": "none"}, sample_attempts=1, in_flight=9,
                    report=lambda *event: None)  # fmt: skip
    for shard in run.unfinished():
        attempt = Attempt(run.directory, shard, fingerprint="f", device="cpu", log="")
        writer.start(attempt)
        for batch in run.layout.batches(shard):
            for sample in batch:
                if sample.index in failing:
                    writer.fail(attempt, sample, "ValueError: no")
                else:
                    writer.add(attempt, sample, picture(sample.seed), HOW, 0.5)
        writer.finish(attempt)
    writer.close()


def keys(run: Run) -> list[str]:
    with tarfile.open(run.directory.tar(0)) as archive:
        return sorted({member.name.partition(".")[0] for member in archive})


def test_failed_samples_are_made_in_shards_of_their_own(tmp_path: Path) -> None:
    run = opened(tmp_path)
    make(run, 1, 4, 6)
    before = tar_hashes(run.directory.path)

    first = opened(tmp_path, "retry_failed=true")
    assert first.directory.path == run.directory.path / "retry-1"
    assert (first.name, first.id) == (run.name, run.id)
    assert first.unfinished() == [0] and first.layout.shard_range(0) == (1, 4, 6)
    check_task(first)
    again = opened(tmp_path, "retry_failed=true")  # while it goes on
    assert again.directory.path == first.directory.path and again.identity == first.identity
    make(first, 4)
    assert keys(first) == ["00000001_0000", "00000006_0000"]

    sample, members = find_sample(open_finished(first.directory, {}), "1_0")
    assert (sample.key, sorted(members)) == ("00000001_0000", ["json", "png", "txt"])
    with pytest.raises(BadInput, match=r"is a pass over failed samples, and 00000000_0000 is none: name the run"):
        find_sample(open_finished(first.directory, {}), "00000000_0000")

    second = opened(tmp_path, "retry_failed=true")
    assert second.directory.path == run.directory.path / "retry-2"
    assert second.layout.shard_range(0) == (4,)
    make(second, 4)  # nothing comes of it: never published, and over
    third = opened(tmp_path, "retry_failed=true")
    assert third.directory.path == run.directory.path / "retry-3"
    make(third)
    assert keys(third) == ["00000004_0000"]
    assert tar_hashes(run.directory.path) == before
    status = read_status(run.directory)
    assert (status.samples_failed, status.retried) == (3, 3)
    assert "3 of those given up were made later, in retry-*/data" in render("run", status)
    with pytest.raises(BadInput, match="all were made since"):
        opened(tmp_path, "retry_failed=true")
    assert opened(tmp_path).unfinished() == []


def test_a_pass_needs_a_run_with_failures_and_the_same_options(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is for a run that was made"):
        opened(tmp_path, "retry_failed=true")
    run = opened(tmp_path)
    with pytest.raises(BadInput, match=r"has none yet, but shards that are not done: leave it out to finish them"):
        opened(tmp_path, "retry_failed=true")
    make(run)
    with pytest.raises(BadInput, match=r"no sample of .* has failed"):
        opened(tmp_path, "retry_failed=true")
    record = json.loads(run.directory.done_record(0).read_text())
    run.directory.done_record(0).write_text(json.dumps({**record, "failed": [2]}))
    with pytest.raises(BadInput, match="seed was 0, is 1"):
        opened(tmp_path, "retry_failed=true", "seed=1")
